"""Headers that declare gigabytes in files of a few kilobytes."""

import gzip
from contextlib import suppress

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.image_sizes import check_sizes
from bids_qcm.bids.images import read_grid, read_stored


def nifti(tmp_path, extension=".nii", extensions=(), kind=nib.Nifti1Image, **fields):
    """Write an image, and set header fields without a check."""
    image = kind(np.ones((4, 5, 6), np.float32), np.eye(4))
    image.header.extensions.extend(nib.nifti1.Nifti1Extension("comment", one) for one in extensions)
    path = tmp_path / f"image{extension}"
    content = bytearray(image.to_bytes())
    header = np.frombuffer(content, image.header.template_dtype, count=1)
    header = header.copy()
    for name, value in fields.items():
        header[name] = value
    content[: header.nbytes] = header.tobytes()
    path.write_bytes(gzip.compress(content) if extension.endswith(".gz") else bytes(content))
    return path


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_an_intact_image_with_extensions_is_accepted(tmp_path, extension, kind):
    path = nifti(tmp_path, extension, [b"a" * 1000, b"b"], kind)
    check_sizes(path)
    assert read_stored(path).values.shape == (4, 5, 6)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"vox_offset": 2e10}, "stores its first voxel 2e\\+10 bytes after"),
        ({"vox_offset": np.nan}, "stores its first voxel nan bytes after"),
        ({"vox_offset": -1}, "stores its first voxel -1 bytes after"),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "has 2.7e\\+13 voxels"),
        ({"dim": [3, 500, 500, 500, 1, 1, 1, 1]}, "is incomplete"),
    ],
)
def test_implausible_sizes_in_the_header_are_refused(tmp_path, extension, fields, problem):
    path = nifti(tmp_path, extension, **fields)
    with pytest.raises(InputError, match=problem) as error:
        read_grid(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("size", [1 << 30, -1, 0, 7, 2000])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_a_header_extension_larger_than_the_file_is_refused(tmp_path, extension, size):
    path = nifti(tmp_path, extension, [b"a" * 1000])
    content = bytearray((gzip.decompress if extension == ".nii.gz" else bytes)(path.read_bytes()))
    content[352:356] = size.to_bytes(4, "little", signed=True)
    path.write_bytes(gzip.compress(content) if extension == ".nii.gz" else content)
    with pytest.raises(InputError, match=f"has a header extension of {size} bytes"):
        read_grid(path)


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_mgz_raises_only_input_errors(tmp_path, seed):
    """With random bytes in the header, the file is read, or an error names the file."""
    rng = np.random.default_rng(seed)
    image = nib.MGHImage(np.ones((4, 5, 6), np.float32), np.eye(4))
    content = bytearray(image.to_bytes())
    for _ in range(rng.integers(1, 5)):
        content[rng.integers(0, 92)] = rng.integers(0, 256)
    path = tmp_path / "image.mgz"
    path.write_bytes(gzip.compress(content[: rng.integers(20, len(content) + 1)]))
    for read in (read_grid, read_stored):
        with suppress(InputError):  # the reader must not raise any other exception
            read(path)
