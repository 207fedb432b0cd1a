"""Interfaces that create segmentations and resample them to the grid of the phase."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec, traits
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.label_tables import write_names
from bids_qcm.bids.anatomy.regions import Regions, import_regions
from bids_qcm.bids.anatomy.segmentations import (
    check_placement,
    import_tissues,
    read_tissues,
)
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers, read_volume, write_image
from bids_qcm.bids.sidecar_schema import Registration, SegmentationSidecar, Warned
from bids_qcm.grids import Grid
from bids_qcm.interfaces.base import (
    CheckedInterface,
    DerivativeInputSpec,
    PosedInputSpec,
    failure,
    optional_file,
    raise_failure,
)
from bids_qcm.segmentation.checks import (
    check_signal_order,
    coverage,
    plausibility_warnings,
    volumes,
)
from bids_qcm.segmentation.lesions import add_lesions
from bids_qcm.segmentation.registration import align
from bids_qcm.segmentation.t1w import segment_t1w


class _CoregisterInputSpec(BaseInterfaceInputSpec):
    magnitude_file = File(exists=True, mandatory=True, desc="magnitude of the first echo")
    anatomical_file = File(exists=True, mandatory=True)
    coreg = traits.Enum("auto", "rigid", usedefault=True)
    n_threads = traits.Int(1, usedefault=True, nohash=True)


class _CoregisterOutputSpec(TraitedSpec):
    pose = traits.List(
        traits.List(traits.Float), desc="4 x 4 matrix from phase to anatomical coordinates, in mm"
    )
    provenance = traits.Dict(desc="fields for the sidecars")
    failure = failure("error if the pose cannot be used")


class Coregister(CheckedInterface):
    """Interface that determines the rigid transform between the magnitude and an anatomical image.

    An error is reported as an output. Interfaces that need the transform raise this error; other
    interfaces continue without the transform.
    """

    input_spec = _CoregisterInputSpec
    output_spec = _CoregisterOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        magnitude, anatomical = Path(inputs.magnitude_file), Path(inputs.anatomical_file)
        alignment = align(
            read_volume(magnitude),
            read_volume(anatomical),
            always=inputs.coreg == "rigid",
            n_threads=inputs.n_threads,
        )
        flipped = [
            str(anatomical),
            "fits the magnitude better with left and right swapped (mutual information "
            f"{alignment.mirrored_information:.3f} instead of "
            f"{alignment.registered_information:.3f}): an axis seems to be flipped in the header "
            "of one image",
            "create both images again, and compare the new images in a viewer",
        ]
        self._results["failure"] = flipped if alignment.looks_flipped else []
        self._results["pose"] = alignment.pose.tolist()
        self._results["provenance"] = Registration(
            coregistration=alignment.chosen,
            coregistration_requested=inputs.coreg,
            coregistration_image=anatomical.name,
            registered_shift=round(alignment.shift, 3),
            mutual_information_header=round(alignment.header_information, 4),
            mutual_information_registered=round(alignment.registered_information, 4),
        ).to_dict()
        return runtime


class _SegmentT1wInputSpec(BaseInterfaceInputSpec):
    t1w_file = File(exists=True, mandatory=True)
    checked_file = File(
        exists=True, nohash=True, desc="an output of the checks, which must run first"
    )
    n_threads = traits.Int(1, usedefault=True, nohash=True)


class _SegmentT1wOutputSpec(TraitedSpec):
    labels_file = File(exists=True, desc="BIDS tissue labels on the grid of the T1w image")
    failure = failure("error if the image could not be segmented")


class SegmentT1w(CheckedInterface):
    """Interface that segments a T1w image; an error is reported as an output."""

    input_spec = _SegmentT1wInputSpec
    output_spec = _SegmentT1wOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        source = Path(self.inputs.t1w_file)
        image, failed = read_volume(source), []
        try:
            labels = segment_t1w(image, self.inputs.n_threads)
        except (ValueError, RuntimeError) as error:
            remedy = "provide a segmentation with --derivatives"
            failed = [str(source), f"cannot be segmented: {error}", remedy]
            labels = np.zeros(image.grid.shape, np.int32)
        self._results["failure"] = failed
        path = Path(runtime.cwd, "labels.nii.gz")
        write_image(path, labels, like=source)
        self._results["labels_file"] = str(path)
        return runtime


class _ImportRegionsInputSpec(PosedInputSpec):
    regions = traits.List(
        traits.Instance(Regions), mandatory=True, desc="segmentation and atlases with regions"
    )
    template_file = optional_file()
    template_failure = failure("error if the T1w image cannot be registered to the template")
    reference_file = File(exists=True, mandatory=True, desc="magnitude on the grid of the phase")


class _ImportRegionsOutputSpec(TraitedSpec):
    atlases = traits.List(traits.Str, desc="name of each segmentation or atlas")
    labels_files = traits.List(File(exists=True), desc="int32 labels on the grid of the phase")
    table_files = traits.List(
        File(exists=True), desc="TSV files with the index and name of each label"
    )
    provenance = traits.Dict(desc="fields for the sidecar")


class ImportRegions(CheckedInterface):
    """Interface that resamples the labels of regions to the grid of the phase.

    The pose belongs to the anatomical image that all regions with an anatomical image share. A
    segmentation or atlas that cannot be used leads to a warning; if none can be used, an error is
    raised.
    """

    input_spec = _ImportRegionsInputSpec
    output_spec = _ImportRegionsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs, reference = self.inputs, Path(self.inputs.reference_file)
        grid = read_grid(reference)
        atlases, labels_files, table_files, errors = [], [], [], []
        for number, one in enumerate(inputs.regions):
            try:
                labels, names = self._import(one, grid)
            except InputError as error:
                errors.append((one.name, error))
                continue
            files = [Path(runtime.cwd, f"{number}.{end}") for end in ("nii.gz", "tsv")]
            write_image(files[0], labels, like=reference)
            write_names(files[1], names)
            atlases.append(one.name)
            labels_files.append(str(files[0]))
            table_files.append(str(files[1]))
        if not atlases:
            raise errors[0][1]
        warnings = [f"no statistics of the regions of {name}: {error}" for name, error in errors]
        self._results |= {
            "atlases": atlases,
            "labels_files": labels_files,
            "table_files": table_files,
            "provenance": Warned(warnings=warnings or None).to_dict(),
        }
        return runtime

    def _import(self, regions: Regions, grid: Grid) -> tuple[NDArray[np.int32], dict[int, str]]:
        registered = regions.alignment.anatomical is not None
        if registered:
            raise_failure(self.inputs.pose_failure)
        template_file = None
        if regions.alignment.template_t1w is not None:
            raise_failure(self.inputs.template_failure)
            template_file = Path(self.inputs.template_file)
        pose = self.inputs.pose if registered else None
        point_map = regions.alignment.point_map(pose, template_file)
        return import_regions(regions, grid, point_map)


class _ImportSegmentationInputSpec(DerivativeInputSpec):
    auxiliary = traits.Instance(AuxiliaryImage, mandatory=True)
    reference_file = File(exists=True, mandatory=True, desc="magnitude on the grid of the phase")
    labels_failure = failure("error if the T1w image could not be segmented")
    label_table = optional_file()
    segmented_file = optional_file()
    signal_file = File(exists=True, mandatory=True, desc="mask of the voxels with signal")
    mask_file = File(exists=True, mandatory=True)
    mask_is_brain = traits.Bool(mandatory=True, desc="whether labels should cover the mask")
    lesions_file = optional_file()
    provenance = traits.Dict({}, usedefault=True, desc="provenance of the pose")


class _ImportSegmentationOutputSpec(TraitedSpec):
    labels_file = File(exists=True, desc="int32 labels on the grid of the phase")
    table_file = File(exists=True, desc="TSV file with the index and name of each label")
    tissues_file = File(exists=True, desc="labels without lesions, for the reconstruction")
    provenance = traits.Dict(desc="fields for the sidecars")


class ImportSegmentation(CheckedInterface):
    """Interface that resamples tissue labels to the grid of the phase, and checks them.

    The reference image is the magnitude. If ``segmented_file`` is set, its labels are used, because
    a T1w image has no labels. Lesions get a separate label.
    """

    input_spec = _ImportSegmentationInputSpec
    output_spec = _ImportSegmentationOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        raise_failure(inputs.labels_failure)
        raise_failure(inputs.pose_failure)
        reference, point_map = Path(inputs.reference_file), inputs.alignment.point_map(inputs.pose)
        auxiliary, magnitude = inputs.auxiliary, read_volume(reference)
        table = Path(inputs.label_table) if inputs.label_table else None
        if inputs.segmented_file:
            segmented = Path(inputs.segmented_file)
            auxiliary, table = AuxiliaryImage((segmented,), segmented.parent), None
        labels, names = import_tissues(auxiliary, table, magnitude.grid, point_map)
        check_placement(
            read_tissues(auxiliary, table)[0],
            magnitude,
            read_integers(Path(inputs.signal_file)) != 0,
            point_map,
        )
        labels_file, table_file = (Path(runtime.cwd, f"labels.{e}") for e in ("nii.gz", "tsv"))
        tissues_file = labels_file
        if inputs.lesions_file:
            tissues_file = Path(runtime.cwd, "tissues.nii.gz")
            write_image(tissues_file, labels, like=reference)
            labels, names = add_lesions(
                labels, names, read_integers(Path(inputs.lesions_file), allow_empty=True)
            )
        write_image(labels_file, labels, like=reference)
        write_names(table_file, names)
        covered = coverage(labels, read_integers(Path(inputs.mask_file)) != 0)
        found = volumes(labels, names, magnitude.grid.voxel_size)
        self._results |= {
            "labels_file": str(labels_file),
            "tissues_file": str(tissues_file),
            "table_file": str(table_file),
        }
        sidecar = SegmentationSidecar(
            mask_coverage=round(covered, 4),
            tissue_volumes={name: round(volume, 2) for name, volume in found.items()},
            warnings=[
                *plausibility_warnings(covered if inputs.mask_is_brain else None, found),
                *check_signal_order(labels, names, magnitude.values),
            ],
        )
        self._results["provenance"] = inputs.provenance | sidecar.to_dict()
        return runtime
