"""The geometry in an image's header: sform, qform and voxel size must agree."""

from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from bids_qcm.bids.errors import InputError

# Conductivity goes with 1/d^2, so this difference of the voxel size d changes it by 1 %, less than
# any map's noise. It is five times the rounding of 0.5 mm to three decimals, the coarsest seen;
# float32 rounds to 6e-8.
_SIZE_TOLERANCE = 0.005

# Largest cosine between two axes. Their cross derivative enters the Laplacian with twice the
# cosine, so it changes conductivity by 1 %, too. Direction cosines of three decimals leave 0.001.
_COSINE_TOLERANCE = 0.005

# Where sform and qform name the same space, a voxel may be off by this share of its size. The
# float32 quaternion of a qform turns by up to 3e-4 rad near 180 degrees, 0.1 mm at a head's rim.
_POSITION_TOLERANCE = 0.5

_AXES = "ijk"
_REMEDY = (
    "convert it again, or set both to the right one, with nibabel's set_sform and set_qform or "
    "with fslorient"
)


def check_geometry(path: Path, image: nib.Nifti1Image) -> None:
    """Check that sform, qform and pixdim of a NIfTI header agree.

    Parameters
    ----------
    path : Path
    image : Nifti1Image

    Raises
    ------
    InputError
        If a voxel size is 0 or not finite, neither sform nor qform is set, sform and pixdim differ
        in voxel size, or sform and qform put the voxels of one space in different places.
    """
    header, sizes = image.header, _stored_sizes(image)
    codes = int(header["sform_code"]), int(header["qform_code"])
    if not (np.isfinite(sizes).all() and sizes.all()):
        raise InputError(path, f"has a pixdim (voxel size) of {_mm(sizes)}", "convert it again")
    if not any(codes):
        raise InputError(
            path,
            f"has neither sform nor qform (codes {codes[0]} and {codes[1]}), only a pixdim of "
            f"{_mm(sizes)}: where its voxels lie is unknown",
            "convert it again, or copy the geometry of an image of the same grid to its header",
        )
    if codes[0] == 0:
        return
    sform = header.get_sform()
    if np.any(np.abs(voxel_sizes(sform) - sizes) > _SIZE_TOLERANCE * sizes):
        raise InputError(
            path,
            f"has voxels of {_mm(voxel_sizes(sform))} by its sform, but of {_mm(sizes)} by its "
            "qform and pixdim",
            _REMEDY,
        )
    if codes[0] == codes[1]:
        _check_position(path, header, image.shape[:3], float(sizes.min()))


def check_axes(path: Path, affine: NDArray[np.floating]) -> None:
    """Check that the axes of an image are perpendicular.

    Parameters
    ----------
    path : Path
    affine : ndarray, shape (4, 4)
        Not singular.

    Raises
    ------
    InputError
        If two axes are not perpendicular.
    """
    directions = affine[:3, :3] / voxel_sizes(affine)
    for one, other in combinations(range(3), 2):
        cosine = float(directions[:, one] @ directions[:, other])
        if abs(cosine) > _COSINE_TOLERANCE:
            raise InputError(
                path,
                f"is sheared: its axes {_AXES[one]} and {_AXES[other]} meet at "
                f"{np.degrees(np.arccos(cosine)):.1f} degrees, not 90",
                "use the image as it was acquired, with the header of the scanner",
            )


def _check_position(
    path: Path, header: nib.Nifti1Header, shape: tuple[int, ...], size: float
) -> None:
    try:
        qform = header.get_qform(coded=False)
    except ValueError as error:
        raise InputError(path, f"has a qform that is not a rotation ({error})", _REMEDY) from error
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    distance = np.linalg.norm(apply_affine(header.get_sform() - qform, corners), axis=1).max()
    if distance > _POSITION_TOLERANCE * size:
        raise InputError(
            path,
            f"has an sform and a qform of the same code, {int(header['sform_code'])}, that put a "
            f"voxel {distance:.3g} mm apart",
            _REMEDY,
        )


def _stored_sizes(image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Return the voxel size of the header as it is in the file.

    nibabel replaces a size of 0 by 1 without a word, so the file is read again where it may have.
    """
    header = image.header
    sizes = header["pixdim"][1:4]
    if np.any(sizes == 1):
        with image.file_map["image"].get_prepare_fileobj("rb") as file:
            stored = file.read(header.template_dtype.itemsize)
        dtype = header.template_dtype.newbyteorder(header.endianness)
        sizes = np.frombuffer(stored, dtype)["pixdim"][0, 1:4]
    return np.abs(sizes.astype(float))


def _mm(sizes: NDArray[np.floating]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes) + " mm"
