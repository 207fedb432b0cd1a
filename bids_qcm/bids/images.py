"""Read images with full error checking, and write them atomically."""

import gzip
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast
from uuid import uuid4

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.arrayproxy import ArrayProxy
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import require_content
from bids_qcm.bids.geometry import check_axes, check_geometry
from bids_qcm.bids.image_sizes import COMPRESSED, check_sizes
from bids_qcm.grids import Grid, Volume
from bids_qcm.phase import PhaseUnits, to_radians
from bids_qcm.phase.radians import scale_values

_Scalar = TypeVar("_Scalar", bound=np.generic)

Parts = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Scaled values of both parts of an echo, of shape (X, Y, Z); a phase is in rad."""

Polar = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Magnitude, and phase in rad, of shape (X, Y, Z)."""

_NO_INTEGERS = "has values that are not 32-bit integers"

# Tolerance for labels. The rounding errors of labels stored with a slope are smaller than the
# deviations of interpolated labels from integers.
_ROUNDING = 1e-3

_COMPUTE_AGAIN = "run the same command again to recompute the file"

_CHUNK_BYTES = 1 << 20

# Level of compression. Higher levels hardly compress noisy images better.
_COMPRESSION = 1

# Range of voxel sizes, wider than on any scanner. Voxel sizes in a wrong unit would lead to kernels
# of millions of voxels.
_VOXEL_SIZE_RANGE_MM = (0.05, 50.0)


@dataclass(frozen=True)
class StoredImage:
    """The stored values of an image file, and their scaling.

    Attributes
    ----------
    values : ndarray, shape (X, Y, Z)
        Values before scaling, in the dtype of the file.
    slope, intercept : float
        Scaling from the header; 1 and 0 if the header has no scaling.
    """

    values: NDArray[Any]
    slope: float
    intercept: float

    @property
    def scaled(self) -> NDArray[np.float32]:
        """Values after scaling, as float32."""
        return scale_values(self.values, self.slope, self.intercept)


def count_volumes(path: Path) -> int:
    """Return the number of volumes along the fourth axis from the header of an image.

    An image with more than four axes counts as one volume; :func:`read_grid` rejects it.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    shape = _load(path).shape
    return shape[3] if len(shape) > 3 and math.prod(shape[4:]) == 1 else 1


def read_grid(path: Path, *, four_d: bool = False) -> Grid:
    """Read an image's grid from its header.

    Parameters
    ----------
    path : Path
    four_d : bool
        Whether the image may have several volumes along a fourth axis.

    Raises
    ------
    InputError
        If the file cannot be read, is not 3-D or has no voxels, if its affine is singular or
        sheared, if its voxel size is not plausible, or if its header contradicts itself.
    """
    image = _load(path)
    shape = image.shape[:3] if four_d else _without_ones(image.shape)
    if len(shape) != 3:
        raise InputError(
            path,
            f"is {len(image.shape)}-D (shape {image.shape}), but one 3-D volume is needed",
            "store one 3-D volume in each file (echo-1, echo-2, ... for several echoes)",
        )
    if 0 in shape:
        raise InputError(path, f"has no voxels (shape {shape})", "create the image again")
    affine = np.asarray(image.affine, dtype=np.float64)
    singular = not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9
    if singular:
        raise InputError(path, "has a singular affine", "correct its sform or qform")
    if isinstance(image, nib.Nifti1Image):
        check_geometry(path, image)
    check_axes(path, affine)
    grid = Grid(shape, affine)
    low, high = _VOXEL_SIZE_RANGE_MM
    if not all(low <= size <= high for size in grid.voxel_size):
        size = " x ".join(f"{one:g}" for one in grid.voxel_size)
        raise InputError(
            path, f"has a voxel size of {size} mm", "correct its sform or qform, which are in mm"
        )
    return grid


def read_stored(path: Path, volume: int | None = None, *, allow_empty: bool = False) -> StoredImage:
    """Read the stored values of one image; arguments and errors as in :func:`read_volumes`."""
    (image,) = read_volumes([(path, volume)], allow_empty=allow_empty)
    return image


def read_volumes(
    volumes: Sequence[tuple[Path, int | None]], *, allow_empty: bool = False
) -> Iterator[StoredImage]:
    """Yield the stored values of 3-D images and of volumes of 4-D images, one at a time.

    Only the values of these volumes are kept in memory. A compressed file is decompressed once if
    its volumes are in ascending order.

    Parameters
    ----------
    volumes : sequence of pairs of Path and int or None
        Files, and the indices of the volumes in 4-D images; None for 3-D images.
    allow_empty : bool
        Whether all values of an image may be zero or not finite.

    Yields
    ------
    StoredImage

    Raises
    ------
    InputError
        If a file cannot be read completely, if its checksum is wrong, if its values are not real
        numbers, or if all values of an image are zero or not finite.
    """
    remaining = Counter(path for path, _ in volumes)
    files: dict[Path, _OpenImage] = {}
    with ExitStack() as stack:
        for path, volume in volumes:
            if path not in files:
                files[path] = stack.enter_context(_OpenImage.open(path))
            file = files[path]
            remaining[path] -= 1
            with _reading(path):
                values = file.read(volume)
                if remaining[path] == 0:
                    file.verify_checksum()
            _check_stored(path, values, volume, allow_empty=allow_empty)
            yield StoredImage(values, file.slope, file.intercept)


class _OpenImage(NamedTuple):
    """An image file from which volumes are read without applying the scaling.

    Attributes
    ----------
    stored : ArrayProxy
        All values without the scaling.
    slope, intercept : float
        Scaling from the header.
    stream : GzipFile or None
        The decompressed content; None for a file without compression.
    """

    stored: ArrayProxy
    slope: float
    intercept: float
    stream: igzip.IGzipFile | None

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["_OpenImage"]:
        """Open an image file (context manager)."""
        proxy = _proxy(_load(path))
        layout = (_without_ones(proxy.shape), proxy.dtype, proxy.offset)
        scaling = float(proxy.slope), float(proxy.inter)
        if not path.name.endswith(COMPRESSED):
            yield cls(ArrayProxy(path, layout), *scaling, None)
            return
        with igzip.open(path) as stream:
            yield cls(ArrayProxy(stream, layout), *scaling, stream)

    def read(self, volume: int | None) -> NDArray[Any]:
        """Return the values of a volume of a 4-D image; all values if `volume` is None.

        Files have Fortran order, but new arrays have C order. Operations on arrays of different
        orders take several times as long, so the values are returned in C order.
        """
        return np.ascontiguousarray(self.stored if volume is None else self.stored[..., volume])

    def verify_checksum(self) -> None:
        """Read a compressed file to its end, because the checksum follows the last value."""
        while self.stream is not None and self.stream.read(_CHUNK_BYTES):
            pass


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise InputError for each error while a file is read (context manager)."""
    try:
        yield
    except gzip.BadGzipFile as error:
        raise InputError(
            path,
            f"is damaged: its compressed data contain an error ({error})",
            "copy the file again from an intact source and compare the checksums, or create it "
            "again",
        ) from error
    except Exception as error:  # nibabel may raise any exception for a damaged file
        raise InputError(
            path,
            f"cannot be read completely ({error!r})",
            "copy the file again, or create it again",
        ) from error


def _check_stored(
    path: Path, values: NDArray[Any], volume: int | None, *, allow_empty: bool
) -> None:
    """Check that stored values are real numbers, and that they are not all zero or not finite."""
    if not np.issubdtype(values.dtype, np.integer) and not np.issubdtype(values.dtype, np.floating):
        raise InputError(
            path,
            f"has values of type {values.dtype}",
            "store real numbers: part-mag and part-phase, or part-real and part-imag",
        )
    which = "" if volume is None else f" in volume {volume} (counted from 0)"
    if not allow_empty and not np.any(np.isfinite(values) & (values != 0)):
        raise InputError(
            path, f"contains only zeros or non-finite values{which}", "create the image again"
        )


def require_intact(path: Path) -> None:
    """Check that a result of this app (image, HDF5 file or text) can be read to its end.

    Raises
    ------
    InputError
        If the file is damaged, incomplete or empty.
    """
    try:
        if path.name.endswith(".nii.gz"):
            stored = _proxy(_load(path))
            with igzip.open(path) as stream:
                n_bytes = sum(map(len, iter(lambda: stream.read(_CHUNK_BYTES), b"")))
            complete = n_bytes >= stored.offset + math.prod(stored.shape) * stored.dtype.itemsize
        elif path.suffix == ".h5":
            complete = _read_hdf5(path) > 0
        else:
            complete = bool(path.read_text(encoding="utf-8").strip())
    except Exception as error:  # libraries may raise any exception for a damaged file
        raise InputError(path, f"is damaged ({error})", _COMPUTE_AGAIN) from error
    if not complete:
        raise InputError(path, "is damaged (the file is incomplete)", _COMPUTE_AGAIN)


def _read_hdf5(path: Path) -> int:
    """Read all arrays of an HDF5 file, and return their number of bytes."""
    from h5py import Dataset, File

    sizes = []
    with File(path) as file:
        file.visititems(
            lambda _, item: (
                sizes.append(np.asarray(item).nbytes) if isinstance(item, Dataset) else None
            )
        )
    return sum(sizes)


class ImagePair(NamedTuple):
    """Both parts of an echo, and how to read them.

    Attributes
    ----------
    first, second : Path
        Magnitude and phase, or real and imaginary part. Both may be volumes of the same file.
    units : PhaseUnits or None
        Unit of the phase; None for real and imaginary parts.
    volumes : pair of int, optional
        Indices of the volumes in 4-D images.
    """

    first: Path
    second: Path
    units: PhaseUnits | None
    volumes: tuple[int, int] | None = None

    @property
    def in_files(self) -> tuple[tuple[Path, int | None], tuple[Path, int | None]]:
        """File and volume of each part; the volume is None for a 3-D image."""
        one, other = self.volumes or (None, None)
        return (self.first, one), (self.second, other)


def read_parts(pairs: Sequence[ImagePair]) -> Iterator[Parts]:
    """Yield both parts of several echoes, one echo at a time.

    Parameters
    ----------
    pairs : sequence of ImagePair

    Yields
    ------
    first, second : ndarray of float32, shape (X, Y, Z)
        Scaled values of both parts; a phase is converted to rad.
    """
    images = read_volumes([volume for pair in pairs for volume in pair.in_files])
    for pair, one, other in zip(pairs, images, images, strict=True):
        yield scale_parts(one, other, pair.units)


def scale_parts(first: StoredImage, second: StoredImage, units: PhaseUnits | None) -> Parts:
    """Return the scaled values of both parts of an echo; a phase is converted to rad.

    Parameters
    ----------
    first, second : StoredImage
    units : PhaseUnits or None
        Unit of the phase; None for real and imaginary parts.

    Returns
    -------
    first, second : ndarray of float32, shape (X, Y, Z)
    """
    if units is None:
        return first.scaled, second.scaled
    return first.scaled, to_radians(second.values, second.slope, second.intercept, units)


def to_polar(parts: Parts, units: PhaseUnits | None) -> Polar:
    """Convert the two parts of an echo to magnitude and phase.

    Parameters
    ----------
    parts : pair of ndarray of float32, shape (X, Y, Z)
        Parts from :func:`read_parts`.
    units : PhaseUnits or None
        Unit of the phase; None for real and imaginary parts.

    Returns
    -------
    magnitude, phase : ndarray of float, shape (X, Y, Z)
        The phase is in rad. The magnitude is 0 where it is not finite in the files.
    """
    magnitude, phase = parts
    if units is None:
        signal = magnitude + 1j * phase
        magnitude, phase = np.abs(signal), np.angle(signal)
    return np.where(np.isfinite(magnitude), magnitude, 0), phase


def read_echoes(pairs: Sequence[ImagePair]) -> Iterator[Polar]:
    """Yield several echoes as magnitude and phase in rad, one echo at a time."""
    for pair, parts in zip(pairs, read_parts(pairs), strict=True):
        yield to_polar(parts, pair.units)


def read_echo(pair: ImagePair) -> Polar:
    """Read one echo as magnitude and phase in rad."""
    (echo,) = read_echoes([pair])
    return echo


def require_grid(path: Path, grid: Grid, what: str, remedy: str) -> None:
    """Check that an image has the grid of another image.

    Parameters
    ----------
    path : Path
    grid : Grid
        Grid of the other image.
    what : str
        The other image, for the message.
    remedy : str
        Remedy for the message.

    Raises
    ------
    InputError
        If the image cannot be read or has a different grid.
    """
    found = read_grid(path)
    if not found.matches(grid):
        raise InputError(
            path,
            f"has a different grid from {what}: {_describe(found)}, not {_describe(grid)}",
            remedy,
        )


def _describe(grid: Grid) -> str:
    size = " x ".join(f"{size:g}" for size in grid.voxel_size)
    first = ", ".join(f"{x:g}" for x in grid.affine[:3, 3])
    return f"{grid.shape} voxels of {size} mm from ({first}) mm"


def read_values(path: Path) -> NDArray[np.float32]:
    """Read the scaled values of an image, shape (X, Y, Z), float32."""
    return read_stored(path).scaled


def read_volume(path: Path) -> Volume:
    """Read the grid and the scaled values of an image, float32."""
    return Volume(read_values(path), read_grid(path), path)


def read_integers(path: Path, *, allow_empty: bool = False) -> NDArray[np.int32]:
    """Read a label image or mask, shape (X, Y, Z), int32.

    Parameters
    ----------
    path : Path
    allow_empty : bool
        Whether all values may be 0.

    Raises
    ------
    InputError
        If a value differs from a whole number by more than 0.001, or exceeds the int32 range.
    """
    image = read_stored(path, allow_empty=allow_empty)
    # float32 cannot distinguish integers above 16777216, so labels are scaled in float64.
    values = image.values
    if (image.slope, image.intercept) != (1, 0):
        values = image.slope * values.astype(np.float64) + image.intercept
    limits = np.iinfo(np.int32)
    # a comparison with NaN is false
    if not (values.min() >= limits.min and values.max() <= limits.max):
        raise InputError(path, _NO_INTEGERS, "store integer labels")
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int32)
    whole: NDArray[np.int32] = np.rint(values).astype(np.int32)
    if np.any(np.abs(values - whole) > _ROUNDING):
        raise InputError(path, _NO_INTEGERS, "store integer labels")
    return whole


def to_canonical(volume: Volume) -> Volume:
    """Reorient an image to the closest canonical (RAS+) orientation.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    Volume
        The same image with permuted and flipped axes; no value is interpolated.
    """
    turn = io_orientation(volume.grid.affine)
    values = apply_orientation(volume.values, turn)
    affine = volume.grid.affine @ inv_ornt_aff(turn, volume.values.shape)
    return Volume(values, Grid(values.shape, affine), volume.path)


def write_image(path: Path, values: NDArray[Any], like: Path) -> None:
    """Write values as an image with the geometry of another image.

    Parameters
    ----------
    path : Path
        File to write atomically.
    values : ndarray, shape (X, Y, Z)
        Values, stored in their own dtype; bool is stored as uint8.
    like : Path
        Image that supplies the affine and the sform and qform codes.
    """
    source = _load(like)
    codes = int(source.header["sform_code"]), int(source.header["qform_code"])
    save_array(path, values, source.affine, codes=codes)


def save_array(
    path: Path,
    values: NDArray[Any],
    affine: NDArray[np.floating],
    slope: float = 1.0,
    intercept: float = 0.0,
    codes: tuple[int, int] = (1, 1),
) -> None:
    """Write stored values and their scaling to a NIfTI file.

    Equal inputs produce equal bytes on processors of the same type.

    Parameters
    ----------
    path : Path
        File with the extension ``.nii`` or ``.nii.gz``, written atomically.
    values : ndarray, shape (X, Y, Z)
        Stored values in their own dtype; bool is stored as uint8.
    affine : ndarray, shape (4, 4)
        Maps voxel indices to mm.
    slope, intercept : float
        ``scl_slope`` and ``scl_inter``.
    codes : tuple of 2 ints
        ``sform_code`` and ``qform_code``.
    """
    stored = values.astype(np.uint8) if values.dtype == bool else values
    image = nib.Nifti1Image(stored, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header.set_xyzt_units("mm")
    # If the scaling is set, nibabel stores the values unchanged.
    image.header.set_slope_inter(slope, intercept)
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        # This is much faster than gzip. The bytes would depend on the time, and on the sizes of the
        # parts if the content were compressed in parts.
        content = igzip.compress(content, _COMPRESSION, mtime=0)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and rename the file to `path` on success (context manager).

    The temporary file is in the same folder and locked until it is renamed. Unlocked temporary
    files, which killed processes left behind, are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    extension = "".join(path.suffixes[-2:]) if path.name.endswith(".nii.gz") else path.suffix
    leading = f".{path.name.removesuffix(extension)}.part-"
    for left in path.parent.glob(f"{escape(leading)}*{escape(extension)}"):
        _remove_if_abandoned(left)
    temporary = path.with_name(f"{leading}{uuid4().hex[:12]}{extension}")
    try:
        with _locked_file(temporary):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _locked_file(path: Path) -> BinaryIO:
    """Create and lock a file, and try again if another process removes it before it is locked."""
    while True:
        file = path.open("wb")
        # flock waits if another process has locked the file in order to remove it
        with suppress(OSError):
            flock(file, LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _remove_if_abandoned(temporary: Path) -> None:
    """Remove a temporary file that no process has locked, if the file system supports locks."""
    with suppress(OSError), temporary.open("rb") as file:
        flock(file, LOCK_EX | LOCK_NB)
        temporary.unlink(missing_ok=True)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without trailing axes of length 1, which some converters add to a volume."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _proxy(image: nib.Nifti1Image | nib.MGHImage) -> ArrayProxy:
    """Return the array proxy of an image from a file."""
    # nibabel declares a more general type, because images in memory have no array proxy
    return cast(ArrayProxy, image.dataobj)


def _load(path: Path) -> nib.Nifti1Image | nib.MGHImage:
    require_content(path)
    try:
        check_sizes(path)
        image = nib.load(path)
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(
            path, "cannot be read: permission denied", "grant read permission"
        ) from error
    except Exception as error:  # nibabel may raise any exception for a damaged file
        raise InputError(
            path,
            f"cannot be read as NIfTI or MGH ({error!r})",
            "copy the file again, or create it again",
        ) from error
    if not isinstance(image, nib.Nifti1Image | nib.MGHImage):
        raise InputError(path, "is neither a NIfTI nor an MGH image", "convert it to NIfTI")
    return image
