"""Check the sizes in an image header before nibabel allocates memory for them."""

import gzip
import math
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

import nibabel as nib

from bids_qcm.bids.errors import InputError

COMPRESSED = (".gz", ".mgz")
"""File extensions of compressed images."""

# Maximum number of voxels of a volume. An image of a head at 0.4 mm has fewer voxels.
_MOST_VOXELS = 512**3

# Maximum offset of the first voxel. Header extensions, such as the AFNI processing history,
# precede the voxels.
_LARGEST_OFFSET = 16 << 20

# Maximum compression ratio of deflate.
_LARGEST_RATIO = 1032

_NIFTI_HEADERS: dict[int, type[nib.Nifti1Header]] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_LARGEST_HEADER = 540
_MGH_HEADER = 284


def check_sizes(path: Path) -> None:
    """Check the size of the header extensions and the number of voxels of an image.

    Parameters
    ----------
    path : Path
        NIfTI or MGH image. A file with any other header is not checked.

    Raises
    ------
    InputError
        If the header states sizes that are too large for a head, or larger than the file.
    """
    compressed = path.name.endswith(COMPRESSED)
    # not isal, which reads ahead, so that damaged values would look like a damaged header
    with gzip.open(path) if compressed else path.open("rb") as stream:
        block = stream.read(_LARGEST_HEADER)
        if path.suffix in (".mgz", ".mgh"):
            mgh = nib.MGHImage.header_class(block[:_MGH_HEADER], check=False)
            shape, offset, dtype = mgh["dims"], 0.0, mgh.get_data_dtype()
        else:
            header = _nifti_header(block)
            if header is None:
                return
            shape, offset = header.get_data_shape(), float(header["vox_offset"])
            dtype = header.get_data_dtype()
            _check_extensions(path, stream, header, offset)
    sizes = [max(int(n), 0) for n in shape]
    n_voxels = math.prod(sizes[:3])
    if n_voxels > _MOST_VOXELS:
        raise InputError(
            path,
            f"has {n_voxels:.3g} voxels, more than the limit of {_MOST_VOXELS:.3g}",
            "create the image again, or use an image with larger voxels",
        )
    stated = offset + math.prod(sizes) * dtype.itemsize
    if stated > path.stat().st_size * (_LARGEST_RATIO if compressed else 1):
        raise InputError(
            path,
            f"is incomplete: according to its header, it has {stated:.3g} bytes",
            "copy the file again, or create it again",
        )


def _nifti_header(block: bytes) -> nib.Nifti1Header | None:
    for size, kind in _NIFTI_HEADERS.items():
        stated = block[:4]
        if size in (int.from_bytes(stated, "little"), int.from_bytes(stated, "big")):
            return kind(block[:size], check=False)
    return None


def _check_extensions(
    path: Path, stream: BufferedIOBase, header: nib.Nifti1Header, offset: float
) -> None:
    """Check the size of each header extension, because nibabel reads all of them."""
    remedy = "create the image again"
    if not 0 <= offset <= _LARGEST_OFFSET:
        raise InputError(
            path, f"stores its first voxel {offset:.3g} bytes after the start of the file", remedy
        )
    position = header.sizeof_hdr
    stream.seek(position)
    if stream.read(4)[:1] in (b"", b"\0"):
        return
    position += 4
    order: Literal["little", "big"] = "little" if header.endianness == "<" else "big"
    # nibabel reads extensions up to the end of the file if the offset is not after the header.
    while offset - position >= 16 or offset < position == header.sizeof_hdr + 4:
        size = int.from_bytes(stream.read(4), order, signed=True)
        if not 8 <= size <= offset - position:
            raise InputError(path, f"has a header extension of {size} bytes", remedy)
        position += size
        stream.seek(position)
