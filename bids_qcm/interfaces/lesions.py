"""Interfaces that import lesions, and compare their conductivity with healthy regions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from nipype.interfaces.base import Bunch, File, TraitedSpec, traits
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.label_tables import read_names
from bids_qcm.bids.anatomy.lesions import import_lesions
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import (
    read_grid,
    read_integers,
    read_values,
    read_volume,
    write_image,
)
from bids_qcm.bids.sidecar_schema import LesionsSidecar
from bids_qcm.bids.tables import CONDLESIONS, write_table
from bids_qcm.grids import Volume
from bids_qcm.interfaces.base import (
    CheckedInterface,
    DerivativeInputSpec,
    optional_file,
    raise_failure,
)
from bids_qcm.interfaces.statistics import MapInputSpec
from bids_qcm.segmentation.checks import volumes
from bids_qcm.segmentation.lesions import Reference, reference_regions
from bids_qcm.segmentation.symmetry import LEAST_SYMMETRY, MirrorPlane, mid_sagittal_plane
from bids_qcm.statistics import describe, mean_weights, region_statistics, standard_error

_LEAST_INSIDE = 0.5

_DIGITS = 4


class _ImportLesionsInputSpec(DerivativeInputSpec):
    auxiliary = traits.Instance(AuxiliaryImage, mandatory=True)
    reference_file = File(exists=True, mandatory=True, desc="magnitude on the grid of the phase")
    mask_file = File(exists=True, mandatory=True)
    pose_provenance = traits.Dict({}, usedefault=True)
    shows_head = traits.Bool(
        True, usedefault=True, desc="whether the image may show a head, which has two similar sides"
    )


class _ImportLesionsOutputSpec(TraitedSpec):
    lesions_file = File(exists=True, desc="int32 lesion numbers in the mask, grid of the phase")
    all_lesions_file = File(exists=True, desc="int32 lesion numbers inside and outside the mask")
    mirror_plane = traits.List(
        traits.Float, desc="normal and offset of the mid-sagittal plane; empty if it is unknown"
    )
    provenance = traits.Dict(desc="fields for the sidecar")


class ImportLesions(CheckedInterface):
    """Interface that resamples lesion masks to the grid of the phase, and numbers the lesions.

    Unusable masks cause a warning and an image without lesions, because all maps can be
    computed without lesions.
    """

    input_spec = _ImportLesionsInputSpec
    output_spec = _ImportLesionsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        magnitude = read_volume(Path(inputs.reference_file))
        mask = read_integers(Path(inputs.mask_file)) != 0
        imported, warnings = np.zeros(magnitude.grid.shape, np.int32), []
        lesions = imported
        try:
            raise_failure(inputs.pose_failure)
            point_map = inputs.alignment.point_map(inputs.pose)
            imported, numbers = import_lesions(inputs.auxiliary, magnitude.grid, point_map)
            lesions = np.where(mask, imported, 0)
            warnings = _placement_warnings(imported, lesions, numbers)
        except InputError as error:
            warnings = [f"the lesion masks are not used: {error}"]
        plane = None
        if lesions.any() and inputs.shows_head:
            plane = mid_sagittal_plane(magnitude, mask, imported > 0)
        known = plane is not None and plane.correlation >= LEAST_SYMMETRY
        if plane is not None and not known:
            warnings.append(
                "lesions are not compared with the other hemisphere, because the head in the mask "
                "is not symmetric: the magnitude and its mirror image have a correlation of only "
                f"{plane.correlation:.2f}"
            )
        for name, values in (("lesions", lesions), ("all_lesions", imported)):
            path = Path(runtime.cwd, f"{name}.nii.gz")
            write_image(path, values, like=Path(inputs.reference_file))
            self._results[f"{name}_file"] = str(path)
        numbers_in_mask = {one: str(one) for one in np.unique(lesions[lesions > 0]).tolist()}
        found = volumes(lesions, numbers_in_mask, magnitude.grid.voxel_size)
        mirror = [*plane.normal.tolist(), plane.offset] if plane is not None and known else []
        sidecar = LesionsSidecar(
            lesion_volumes={number: round(volume, _DIGITS) for number, volume in found.items()},
            mirror_plane=[round(one, _DIGITS) for one in mirror] or None,
            mirror_correlation=None if plane is None else round(plane.correlation, _DIGITS),
            warnings=warnings,
        )
        self._results |= {
            "mirror_plane": mirror,
            "provenance": inputs.pose_provenance | sidecar.to_dict(),
        }
        return runtime


def _placement_warnings(
    imported: NDArray[np.int32], inside: NDArray[np.int32], numbers: list[int]
) -> list[str]:
    """Return warnings about lesions that have no voxel on the grid or are outside the mask."""
    largest = max(numbers)
    of_grid, of_mask = (
        np.bincount(one.ravel(), minlength=largest + 1)[numbers] for one in (imported, inside)
    )
    lost = [one for one, n in zip(numbers, of_grid.tolist(), strict=True) if n == 0]
    outside = [
        one
        for one, n, kept in zip(numbers, of_grid.tolist(), of_mask.tolist(), strict=True)
        if n > 0 and kept < _LEAST_INSIDE * n
    ]
    warnings = []
    if lost:
        warnings.append(
            f"lesions without a voxel on the grid of the phase: {_listed(lost)}; these lesions are "
            "smaller than a voxel or outside the field of view"
        )
    if outside:
        warnings.append(
            f"lesions that lie mostly outside the mask: {_listed(outside)}; compare the lesion "
            "masks and the mask in a viewer"
        )
    return warnings


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


class _CompareLesionsInputSpec(MapInputSpec):
    lesions_file = File(
        exists=True, mandatory=True, desc="lesion numbers inside and outside the mask"
    )
    labels_file = optional_file()
    names_file = optional_file()
    noise_maps_file = optional_file()
    mirror_plane = traits.List(traits.Float, [], usedefault=True)


class _CompareLesionsOutputSpec(TraitedSpec):
    table_file = File(exists=True, desc="TSV file with two rows for each lesion")


class CompareLesions(CheckedInterface):
    """Interface that compares the conductivity of lesions with healthy regions."""

    input_spec = _CompareLesionsInputSpec
    output_spec = _CompareLesionsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        source = Path(inputs.lesions_file)
        lesions = Volume(read_integers(source, allow_empty=True), read_grid(source))
        labels, names = None, {}
        if inputs.labels_file:
            labels = read_integers(Path(inputs.labels_file))
            names = read_names(Path(inputs.names_file))
        *normal, offset = inputs.mirror_plane or [np.nan]
        plane = MirrorPlane(np.array(normal), offset, np.nan) if normal else None
        mask = read_integers(Path(inputs.mask_file)) != 0
        noise = np.load(inputs.noise_maps_file) if inputs.noise_maps_file else None
        conductivity = _Map(read_values(Path(inputs.condmap_file)), mask, noise)
        regions = reference_regions(lesions, mask, plane, labels, names)
        rows = list(_rows(conductivity, lesions, regions, names))
        path = Path(runtime.cwd, "condlesions.tsv")
        write_table(path, pd.DataFrame(rows, columns=list(CONDLESIONS)), CONDLESIONS)
        self._results["table_file"] = str(path)
        return runtime


class _Map(NamedTuple):
    """Conductivity in S/m, its mask, and noise maps at the voxels of the mask, (n, n_mask)."""

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]
    noise: NDArray[np.float32] | None

    def error_of_difference(self, one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
        """Return the standard error of the difference between the means of two regions in the mask.

        NaN without noise maps, or if a region has no valid voxel.
        """
        if self.noise is None:
            return float("nan")
        used = (one | other)[self.mask]
        noise, values = self.noise[:, used], self.values[self.mask][used]
        first, second = (
            mean_weights(values, noise, region[self.mask][used]) for region in (one, other)
        )
        return standard_error(noise, first - second)


def _rows(
    conductivity: _Map, lesions: Volume, references: Iterator[Reference], names: dict[int, str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the lesion table."""
    voxel = float(np.prod(lesions.grid.voxel_size)) / 1000
    values, mask, noise = conductivity
    of_lesions = {
        one.label: one
        for one in region_statistics(values, mask, lesions.values, noise)
        if one.erosion == 0
    }
    for reference in references:
        own = of_lesions[reference.lesion]
        inside = mask & (lesions.values == reference.lesion)
        other = describe(values[reference.voxels])
        yield {
            "lesion": reference.lesion,
            "n": own.n,
            "volume_ml": own.n * voxel,
            "mean": own.mean,
            "median": own.median,
            "sd": own.sd,
            "standard_error": own.standard_error,
            "reference": reference.kind,
            "reference_tissue": names.get(reference.tissue, np.nan),
            "reference_n": other.n,
            "reference_mean": other.mean,
            "difference": own.mean - other.mean,
            "difference_standard_error": conductivity.error_of_difference(inside, reference.voxels),
        }
