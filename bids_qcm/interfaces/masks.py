"""Interface that imports or creates the mask of an acquisition."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Bunch, File, TraitedSpec, traits
from numpy.typing import NDArray

from bids_qcm.bids.anatomy.segmentations import import_mask, resample_mask
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, read_integers, read_volume, write_image
from bids_qcm.bids.sidecar_schema import MaskChoice, MaskSidecar, Phi0Sidecar, merge
from bids_qcm.checks.masks import check_mask
from bids_qcm.grids import Volume
from bids_qcm.interfaces.base import (
    OVERRIDE,
    CheckedInterface,
    OriginsInputSpec,
    failure,
    image_checks,
    optional_file,
    raise_failure,
)
from bids_qcm.segmentation.brain import (
    LEAST_OVERLAP,
    brain_mask_from_labels,
    brain_mask_from_magnitude,
    largest_part,
)
from bids_qcm.segmentation.template import LEAST_RATIO

_DIGITS = 4


class _MakeMaskInputSpec(OriginsInputSpec):
    image_checks = image_checks()
    labels_file = optional_file()
    labels_failure = failure("error if the T1w image could not be segmented")
    provenance = traits.Dict({}, usedefault=True, desc="provenance of the images")


class _MakeMaskOutputSpec(TraitedSpec):
    mask_file = File(exists=True)
    mask_type = traits.Enum("brain", "signal")
    is_brain = traits.Bool()
    metadata = traits.Dict(desc="sidecar of the mask")
    provenance = traits.Dict(desc="fields for the sidecars of results in this mask")


class MakeMask(CheckedInterface):
    """Interface that resamples a brain mask to the grid of the phase, or creates a mask.

    The origins are tried in the given order.
    """

    input_spec = _MakeMaskInputSpec
    output_spec = _MakeMaskOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        failures: list[str] = []
        for origin in inputs.origins:
            try:
                mask, measured = getattr(self, f"_from_{origin.lower()}")()
                break
            except (InputError, ValueError) as error:
                if origin == inputs.origins[-1]:
                    raise _no_mask(Path(inputs.source), failures, error) from error
                failures.append(f"{_NOT_USED[origin]}: {error}")
        kind = "signal" if origin == "signal" else "brain"
        choice = MaskChoice(mask_type=kind, mask_origin=origin, mask_requested=inputs.requested)
        # A signal mask is the correct result if nothing suggests that the object is a head.
        worth_a_warning = bool(failures) and inputs.head_expected
        messages = MaskSidecar(
            warnings=failures if worth_a_warning else None,
            mask_note="; ".join(failures) if failures and not worth_a_warning else None,
        )
        metadata = {**inputs.metadata[origin], **measured, **choice.to_dict(), **messages.to_dict()}
        coverage, found = self._coverage(mask, origin)
        path = Path(runtime.cwd, "mask.nii.gz")
        write_image(path, mask, like=Path(inputs.magnitude_file))
        used = Phi0Sidecar(
            **asdict(choice),
            warnings=messages.warnings,
            signal_coverage=coverage,
            sources=MaskSidecar.from_dict(metadata).sources,
        )
        self._results |= {
            "mask_file": str(path),
            "mask_type": kind,
            "is_brain": kind == "brain",
            "metadata": metadata,
            "provenance": merge(merge(inputs.provenance, found.to_dict()), used.to_dict()),
        }
        return runtime

    def _coverage(self, mask: NDArray[np.bool_], origin: str) -> tuple[float, Phi0Sidecar]:
        """Return the fraction of the mask that has signal, and the warnings about a low fraction.

        Raises
        ------
        InputError
            If a conductivity map in this mask would be wrong.
        """
        coverage, finding = check_mask(mask, self._signal())
        if finding is None:
            return round(coverage, _DIGITS), Phi0Sidecar(warnings=[])
        inputs = self.inputs
        path = inputs.auxiliary.path if origin == "derivative" else Path(inputs.source)
        if finding.fatal and inputs.image_checks == "stop":
            raise InputError(path, finding.problem, f"{finding.remedy}; {OVERRIDE}")
        warnings = [f"{path.name} {finding.problem}; {finding.remedy}"]
        return round(coverage, _DIGITS), Phi0Sidecar(
            warnings=warnings, failed_image_checks=warnings if finding.fatal else None
        )

    def _from_derivative(self) -> tuple[NDArray[np.bool_], dict[str, Any]]:
        inputs = self.inputs
        raise_failure(inputs.pose_failure)
        grid = read_grid(Path(inputs.magnitude_file))
        mask = import_mask(inputs.auxiliary.path, grid, inputs.alignment.point_map(inputs.pose))
        return mask, dict(inputs.pose_provenance)

    def _from_t1w(self) -> tuple[NDArray[np.bool_], dict[str, Any]]:
        inputs = self.inputs
        raise_failure(inputs.labels_failure)
        raise_failure(inputs.pose_failure)
        image = Path(inputs.auxiliary.path)
        grid_of_image = read_grid(image)
        labels = Volume(read_integers(Path(inputs.labels_file)), grid_of_image)
        hull = Volume(brain_mask_from_labels(labels), grid_of_image, image)
        grid = read_grid(Path(inputs.magnitude_file))
        point_map = inputs.alignment.point_map(inputs.pose)
        # resampling to larger voxels may split the mask at a thin connection
        mask = largest_part(resample_mask(hull, grid, point_map))
        share = np.count_nonzero(mask & self._signal()) / np.count_nonzero(mask)
        if share < LEAST_OVERLAP:
            raise InputError(
                image,
                f"shows a brain, but the magnitude has signal in only {share:.0%} of the brain",
                "use a T1w image of the same participant",
            )
        fit = MaskSidecar(mask_overlap=round(float(share), _DIGITS))
        return mask, fit.to_dict() | inputs.pose_provenance

    def _from_template(self) -> tuple[NDArray[np.bool_], dict[str, Any]]:
        path = Path(self.inputs.magnitude_file)
        made = brain_mask_from_magnitude(read_volume(path), self._signal())
        fit = MaskSidecar(
            mask_overlap=round(made.overlap, _DIGITS),
            mutual_information=round(made.fit.information, _DIGITS),
            mutual_information_chance=round(made.fit.chance, _DIGITS),
            mutual_information_threshold=round(LEAST_RATIO * made.fit.chance, _DIGITS),
        )
        return made.mask, fit.to_dict()

    def _from_signal(self) -> tuple[NDArray[np.bool_], dict[str, Any]]:
        return self._signal(), {}

    def _signal(self) -> NDArray[np.bool_]:
        signal: NDArray[np.bool_] = read_integers(Path(self.inputs.signal_file)) != 0
        return signal


_NOT_USED = {
    "derivative": "the brain mask was not used",
    "T1w": "no brain mask was made from the T1w image",
    "template": "no brain mask was made from the magnitude",
}


def _no_mask(image: Path, failures: list[str], error: Exception) -> InputError:
    """Return the error for an acquisition without a mask from any requested origin."""
    if isinstance(error, InputError) and not failures:
        return error
    return InputError(
        image,
        f"has no brain mask, and no brain mask can be made ({'; '.join([*failures, str(error)])})",
        "provide a brain mask with --derivatives, or use --mask signal",
    )
