"""Interfaces that create transforms between spaces, and resample maps and labels."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec, traits
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.spaces import OutputSpace
from bids_qcm.bids.anatomy.transforms import PointTransform, Step, write_affine, write_deformation
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers, read_values, read_volume, save_array
from bids_qcm.grids import Grid, Volume
from bids_qcm.interfaces.base import CheckedInterface, failure, optional_file, raise_failure
from bids_qcm.segmentation.normalisation import register_to_template
from bids_qcm.segmentation.resampling import resample_inside, resample_nearest
from bids_qcm.segmentation.template import shipped_template

# NIfTI codes for scanner coordinates and for coordinates of the MNI152 template.
_SCANNER_CODE, _TEMPLATE_CODE = 1, 4


class _MakeTransformsInputSpec(BaseInterfaceInputSpec):
    pose = traits.Either(
        None,
        traits.List(traits.List(traits.Float)),
        default=None,
        usedefault=True,
        desc="4 x 4 matrix from phase to T1w coordinates, in mm; None for the identity",
    )
    pose_failure = failure("error if the pose cannot be used")


class _MakeTransformsOutputSpec(TraitedSpec):
    to_t1w_file = optional_file()
    from_t1w_file = optional_file()
    failure = failure("error if the pose cannot be used")


class MakeTransforms(CheckedInterface):
    """Interface that writes the rigid transforms of images between the phase and the T1w image.

    The outputs are None if the pose cannot be used.
    """

    input_spec = _MakeTransformsInputSpec
    output_spec = _MakeTransformsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        pose = np.eye(4) if inputs.pose is None else np.array(inputs.pose)
        # the transform of an image maps points in the opposite direction, from the target to the
        # source
        matrices = {"to_t1w": np.linalg.inv(pose), "from_t1w": pose}
        for name, matrix in matrices.items():
            path = None
            if not inputs.pose_failure:
                path = Path(runtime.cwd, f"{name}.txt")
                write_affine(path, matrix)
            self._results[f"{name}_file"] = path and str(path)
        self._results["failure"] = inputs.pose_failure
        return runtime


class _RegisterTemplateInputSpec(BaseInterfaceInputSpec):
    t1w_file = File(exists=True, mandatory=True)
    checked_file = File(
        exists=True, nohash=True, desc="an output of the checks, which must run first"
    )
    n_threads = traits.Int(1, usedefault=True, nohash=True)


class _RegisterTemplateOutputSpec(TraitedSpec):
    to_template_file = optional_file()
    from_template_file = optional_file()
    failure = failure("error if the T1w image cannot be registered")


class RegisterTemplate(CheckedInterface):
    """Interface that registers a T1w image to nilearn's MNI152 template.

    The outputs are transforms of images to the template and from the template. They are None if the
    T1w image cannot be registered.
    """

    input_spec = _RegisterTemplateInputSpec
    output_spec = _RegisterTemplateOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        source = Path(self.inputs.t1w_file)
        names = ("to_template", "from_template")
        try:
            found = register_to_template(read_volume(source), self.inputs.n_threads)
        except (ValueError, RuntimeError) as error:
            problem = f"cannot be registered to the MNI152 template: {error}"
            remedy = (
                "add a derivative dataset with a transform to the template, or omit the template "
                "from --output-spaces and --atlas"
            )
            self._results |= dict.fromkeys([f"{name}_file" for name in names])
            self._results["failure"] = [str(source), problem, remedy]
            return runtime
        paths = {name: Path(runtime.cwd, f"{name}.h5") for name in names}
        write_deformation(paths["to_template"], found.deformation, found.affine)
        write_deformation(
            paths["from_template"],
            found.inverse,
            np.linalg.inv(found.affine),
            affine_first=True,
        )
        self._results |= {f"{name}_file": str(path) for name, path in paths.items()}
        self._results["failure"] = []
        return runtime


class _SpaceInputSpec(BaseInterfaceInputSpec):
    space = traits.Instance(OutputSpace, mandatory=True)
    in_files = traits.List(
        File(exists=True), desc="all input files, so that a changed file is detected"
    )
    template_file = optional_file()
    template_failure = failure("error if the T1w image cannot be registered to the template")
    phase_file = optional_file()
    pose_failure = failure("error if the T1w image cannot be aligned with the phase")


class _Target(NamedTuple):
    """Grid of a space, the map of its points to the phase, and the NIfTI code of its affine."""

    grid: Grid
    point_map: PointTransform
    code: int

    def save(self, path: Path, values: NDArray[np.generic]) -> None:
        save_array(path, values, self.grid.affine, codes=(self.code, self.code))


def _target(inputs: _SpaceInputSpec) -> _Target:
    raise_failure(inputs.pose_failure)
    raise_failure(inputs.template_failure)
    reference = inputs.space.reference
    computed = [inputs.template_file, inputs.phase_file]
    to_t1w, to_phase = ([Step(Path(one))] if one else [] for one in computed)
    steps = [*inputs.space.steps, *to_t1w, *inputs.space.t1w.to_phase, *to_phase]
    return _Target(
        shipped_template().grid if reference is None else read_grid(reference),
        PointTransform(steps),
        _SCANNER_CODE if inputs.space.is_native else _TEMPLATE_CODE,
    )


class _ResampleMapsInputSpec(_SpaceInputSpec):
    condmap_file = File(exists=True, mandatory=True)
    condstd_file = optional_file()
    mask_file = File(exists=True, mandatory=True)


class _ResampleMapsOutputSpec(TraitedSpec):
    condmap_file = File(exists=True, desc="conductivity in S/m; NaN where invalid, 0 outside")
    condstd_file = File(exists=True, desc="noise standard deviation in S/m, if it was given")


class ResampleMaps(CheckedInterface):
    """Interface that resamples the conductivity and its noise to another space."""

    input_spec = _ResampleMapsInputSpec
    output_spec = _ResampleMapsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs, target = self.inputs, _target(self.inputs)
        files = {"condmap": inputs.condmap_file, "condstd": inputs.condstd_file}
        given = {name: Path(file) for name, file in files.items() if file}
        resampled = resample_inside(
            [read_values(path) for path in given.values()],
            read_integers(Path(inputs.mask_file)) != 0,
            read_grid(given["condmap"]),
            target.grid,
            target.point_map,
        )
        if not resampled[0].any():
            raise InputError(
                inputs.space.t1w.path,
                f"does not overlap with the map in the space {inputs.space.name}",
                "check the transforms, and check that all images show the same participant",
            )
        for name, values in zip(given, resampled, strict=True):
            path = Path(runtime.cwd, f"{name}.nii.gz")
            target.save(path, values)
            self._results[f"{name}_file"] = str(path)
        return runtime


class _ResampleLabelsInputSpec(_SpaceInputSpec):
    labels_file = File(exists=True, mandatory=True)


class _ResampleLabelsOutputSpec(TraitedSpec):
    labels_file = File(exists=True, desc="labels on the grid of the space")


class ResampleLabels(CheckedInterface):
    """Interface that resamples tissue labels to another space (nearest neighbour)."""

    input_spec = _ResampleLabelsInputSpec
    output_spec = _ResampleLabelsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        target, source = _target(self.inputs), Path(self.inputs.labels_file)
        labels = Volume(read_integers(source), read_grid(source))
        path = Path(runtime.cwd, "labels.nii.gz")
        target.save(path, resample_nearest(labels, target.grid, target.point_map))
        self._results["labels_file"] = str(path)
        return runtime
