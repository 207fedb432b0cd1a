"""Find and apply the transforms between spaces in derivative datasets."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from nibabel.affines import from_matvec
from numpy.typing import ArrayLike, NDArray

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.anatomy.auxiliary import named_space
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import require_content, visible
from bids_qcm.bids.names import parse_name
from bids_qcm.segmentation.registration import (
    Deformation,
    to_affine_transform,
    to_displacement_field,
)

_LINEAR_EXTENSIONS = (".txt", ".mat", ".tfm")
_EXTENSIONS = (*_LINEAR_EXTENSIONS, ".h5")
_WRITE_AGAIN = "create the transform again"

# Limits for files with a displacement field: size of an array in bytes, and compression ratio. A
# field at 0.7 mm in double precision has 0.5 GB. Displacements compress by a factor of less than
# ten. A larger ratio shows that values were never written, because HDF5 does not store such values.
_LARGEST_FIELD = 6e8
_LARGEST_RATIO = 100
_SMALL = 4096
_LARGEST_LINEAR = 1 << 20


@dataclass(frozen=True)
class Step:
    """A transform file and its direction.

    Attributes
    ----------
    path : Path
        ITK transform file: ``.txt``, ``.mat``, ``.tfm`` or ``.h5``.
    inverse : bool
        Whether points are mapped by the inverse of the transform.
    """

    path: Path
    inverse: bool = False

    @property
    def is_linear(self) -> bool:
        """Whether the file contains a linear transform, which needs little memory."""
        return self.path.suffix in _LINEAR_EXTENSIONS


class _Transform(Protocol):
    def map(self, x: NDArray[np.float64], inverse: bool = False) -> NDArray[np.float64]: ...


def own_first(dataset: Path, datasets: Iterable[Path]) -> list[Path]:
    """Return the datasets to search for the transforms of an image; its own dataset is first."""
    return [dataset, *(one for one in datasets if one != dataset)]


def find_steps(
    start: str, end: str, acquisition: Acquisition, datasets: Iterable[Path]
) -> tuple[Step, ...] | None:
    """Return the shortest chain of transforms that maps points from one space to another.

    A file ``from-A_to-B_mode-image_xfm`` resamples images from space A to space B, so it maps
    points from B to A. Linear transforms can also be inverted.

    Parameters
    ----------
    start, end : str
        Labels of the spaces, as in the entities ``from`` and ``to``.
    acquisition : Acquisition
        Acquisition whose participant's transforms are searched. Transforms of the same session are
        preferred to transforms without a session.
    datasets : iterable of Path
        Datasets in search order. The first dataset with a transform between two spaces is used.

    Returns
    -------
    tuple of Step, or None
        Transforms in the order of application; None if the spaces are not connected.
    """
    steps: dict[str, dict[str, Step]] = {}
    for path in _files(acquisition, datasets):
        entities, _ = parse_name(path.name)
        one, other = named_space(entities["from"]), named_space(entities["to"])
        steps.setdefault(other, {}).setdefault(one, Step(path))
        if path.suffix in _LINEAR_EXTENSIONS:
            steps.setdefault(one, {}).setdefault(other, Step(path, inverse=True))
    ways: dict[str, tuple[Step, ...]] = {start: ()}
    reached = [start]
    while reached and end not in ways:
        space = reached.pop(0)
        for following, step in steps.get(space, {}).items():
            if following not in ways:
                ways[following] = (*ways[space], step)
                reached.append(following)
    return ways.get(end)


class PointTransform:
    """Map of points through a rigid pose and a chain of transform files.

    Parameters
    ----------
    steps : sequence of Step
        Transforms in the order of application.
    pose : array_like, shape (4, 4), optional
        Affine matrix that is applied before the steps; the identity by default.

    Attributes
    ----------
    matrix : ndarray, shape (4, 4), or None
        The whole map as an affine matrix; None if a transform is not linear.

    Raises
    ------
    InputError
        If a file cannot be read as an ITK transform.
    """

    def __init__(self, steps: Sequence[Step], pose: ArrayLike | None = None) -> None:
        self._pose = np.eye(4) if pose is None else np.asarray(pose)
        self._transforms = [(read_transform(step.path), step.inverse) for step in steps]
        self.matrix = None
        if all(step.is_linear for step in steps):
            # an affine map is determined by the images of the origin and of the unit vectors
            origin, *others = self(np.eye(3, 4, k=1).T)
            self.matrix = from_matvec(np.transpose(others - origin), origin)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mapped points; an array of shape (N, 3) in mm."""
        points = points @ self._pose[:3, :3].T + self._pose[:3, 3]
        for transform, inverse in self._transforms:
            points = transform.map(points, inverse=inverse)
        return points


def check_transform(path: Path) -> None:
    """Check that an ITK transform can be read, without reading a displacement field.

    Raises
    ------
    InputError
        If the file cannot be read as an ITK transform, or is too large.
    """
    if path.suffix == ".h5":
        _check_field(path)
    else:
        read_transform(path)


def check_steps(steps: Iterable[Step]) -> None:
    """Check all transforms of a chain, as in :func:`check_transform`."""
    for step in steps:
        check_transform(step.path)


def read_transform(path: Path) -> _Transform:
    """Read an ITK transform.

    Raises
    ------
    InputError
        If the file cannot be read as an ITK transform, or is too large.
    """
    check = _check_field if path.suffix == ".h5" else _check_linear
    check(path)
    # nitransforms is slow to import, so it is imported only when needed.
    from nitransforms import linear, manip

    try:
        if path.suffix != ".h5":
            affine: _Transform = linear.load(path, fmt="itk")
            return affine
        with warnings.catch_warnings():
            # nitransforms warns about a missing reference image, which is not needed for points.
            warnings.simplefilter("ignore", UserWarning)
            chain: _Transform = manip.load(path, fmt="itk")
            return chain
    except Exception as error:  # The file parsers that nitransforms uses may raise any exception.
        raise InputError(
            path, f"cannot be read as an ITK transform ({error!r})", _WRITE_AGAIN
        ) from error


def write_affine(path: Path, matrix: ArrayLike) -> None:
    """Write an affine map of points in NIfTI coordinates as an ITK text file.

    Parameters
    ----------
    path : Path
        File with the extension ``.txt``.
    matrix : array_like, shape (4, 4)
        Map of points in mm. An image is resampled with the map from its target to its source.
    """
    from nitransforms.linear import Affine

    Affine(np.asarray(matrix)).to_filename(path, fmt="itk")


def write_deformation(
    path: Path, deformation: Deformation, affine: ArrayLike, *, affine_first: bool = False
) -> None:
    """Write a point map, composed of a deformation and an affine matrix, as an ITK HDF5 file.

    Parameters
    ----------
    path : Path
        File with the extension ``.h5``.
    deformation : Deformation
    affine : array_like, shape (4, 4)
        Matrix in NIfTI coordinates, mm.
    affine_first : bool
        Whether the affine is applied to a point before the deformation, and not after it.
    """
    import SimpleITK as sitk

    parts = [
        to_affine_transform(np.asarray(affine), np.zeros(3)),
        sitk.DisplacementFieldTransform(to_displacement_field(deformation)),
    ]
    # ITK applies the last transform first
    composite = sitk.CompositeTransform(parts[::-1] if affine_first else parts)
    sitk.WriteTransform(composite, str(path))


def _check_linear(path: Path) -> None:
    """Check the size of a file with linear transforms."""
    require_content(path)
    # a missing file is reported by the reader
    size = path.stat().st_size if path.exists() else 0
    if size > _LARGEST_LINEAR:
        raise InputError(
            path, f"has {size:.3g} bytes, which is too many for a linear transform", _WRITE_AGAIN
        )


def _check_field(path: Path) -> None:
    """Check the size of each array of an HDF5 transform."""
    require_content(path)
    from h5py import Dataset, File

    sizes = {}

    def add_size(name: str, item: object) -> None:
        if isinstance(item, Dataset):
            sizes[name] = item.nbytes, item.id.get_storage_size()

    try:
        with File(path) as file:
            file["TransformGroup"].visititems(add_size)
    except Exception as error:  # h5py may raise any exception for a damaged file.
        raise InputError(
            path, f"cannot be read as an ITK transform ({error!r})", _WRITE_AGAIN
        ) from error
    for name, (stated, stored) in sizes.items():
        if stated > min(_LARGEST_FIELD, _LARGEST_RATIO * stored + _SMALL):
            raise InputError(
                path,
                f"states {stated:.3g} bytes for {name}, but contains only {stored:.3g}",
                _WRITE_AGAIN,
            )


def _files(acquisition: Acquisition, datasets: Iterable[Path]) -> list[Path]:
    subject = f"sub-{acquisition.subject}"
    folders = [Path(subject, "anat")]
    if acquisition.session is not None:
        folders.insert(0, Path(subject, f"ses-{acquisition.session}", "anat"))
    return [
        path
        for folder in folders
        for dataset in datasets
        for path in sorted(visible(dataset / folder, "*_from-*_to-*_xfm.*"))
        if path.suffix in _EXTENSIONS
        and _is_applicable(parse_name(path.name)[0], acquisition.entities)
    ]


def _is_applicable(entities: Mapping[str, str], own: Mapping[str, str]) -> bool:
    """Whether a transform has ``mode-image`` and agrees with the acquisition's entities."""
    return entities.get("mode", "image") == "image" and all(
        own.get(key, label) == label for key, label in entities.items()
    )
