"""Check the geometry in an image header: sform, qform and voxel size must agree."""

from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from bids_qcm.bids.errors import InputError

# Relative tolerance of the voxel size d. Conductivity is proportional to 1/d^2, so this difference
# changes it by 1 %, which is less than the noise of any map. The tolerance is five times the
# largest rounding error observed, for 0.5 mm stored with three decimals; float32 rounds to 6e-8.
_SIZE_TOLERANCE = 0.005

# Maximum cosine of the angle between two axes. The cross derivative of two axes enters the
# Laplacian with twice the cosine, so this cosine also changes the conductivity by 1 %. Direction
# cosines stored with three decimals have an error of 0.001.
_COSINE_TOLERANCE = 0.005

# Maximum distance, in voxel sizes, between the positions of a voxel by sform and by qform if both
# refer to the same space. Rounding the quaternion of a qform to float32 rotates the image by up to
# 3e-4 rad near 180 degrees, which is 0.1 mm at the surface of the head.
_POSITION_TOLERANCE = 0.5

_AXES = "ijk"
_REMEDY = (
    "create the image again, or set sform and qform to the correct transform (set_sform and "
    "set_qform in nibabel, or fslorient in FSL)"
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
        If a voxel size is 0 or not finite, if neither sform nor qform is set, if sform and pixdim
        differ in voxel size, or if sform and qform have the same code and place the voxels in
        different positions.
    """
    header, sizes = image.header, _stored_sizes(image)
    codes = int(header["sform_code"]), int(header["qform_code"])
    if not (np.isfinite(sizes).all() and sizes.all()):
        raise InputError(
            path, f"has a pixdim (voxel size) of {_mm(sizes)}", "create the image again"
        )
    if not any(codes):
        raise InputError(
            path,
            f"has neither sform nor qform (codes {codes[0]} and {codes[1]}), only a pixdim of "
            f"{_mm(sizes)}: the position of its voxels is unknown",
            "create the image again, or copy the geometry of an image with the same grid to its "
            "header",
        )
    if codes[0] == 0:
        return
    sform = header.get_sform()
    if np.any(np.abs(voxel_sizes(sform) - sizes) > _SIZE_TOLERANCE * sizes):
        raise InputError(
            path,
            f"has a voxel size of {_mm(voxel_sizes(sform))} in its sform, but {_mm(sizes)} in its "
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
        Affine that is not singular.

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
                "use the image as it was acquired, with its original header",
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
            f"has an sform and a qform with the same code, {int(header['sform_code'])}, but their "
            f"voxel positions differ by up to {distance:.3g} mm",
            _REMEDY,
        )


def _stored_sizes(image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Return the voxel sizes in mm as stored in the header.

    nibabel silently replaces a size of 0 with 1, so the header is read again from the file if a
    size is 1.
    """
    header = image.header
    sizes = header["pixdim"][1:4]
    if np.any(sizes == 1):
        with image.file_map["image"].get_prepare_fileobj("rb") as file:
            stored = file.read(header.template_dtype.itemsize)
        dtype = header.template_dtype.newbyteorder(header.endianness)
        sizes = np.frombuffer(stored, dtype)["pixdim"][0, 1:4]
    positive: NDArray[np.float64] = np.abs(sizes.astype(float))
    return positive


def _mm(sizes: NDArray[np.floating]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes) + " mm"
