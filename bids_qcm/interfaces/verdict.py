"""Interface that computes the verdict on a conductivity map."""

from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec, traits

from bids_qcm.bids.anatomy.label_tables import read_names
from bids_qcm.bids.images import read_integers, read_values, read_volume
from bids_qcm.bids.sidecar_schema import CondmapSidecar
from bids_qcm.checks.evidence import Evidence, gather_evidence
from bids_qcm.checks.verdict import judge
from bids_qcm.interfaces.base import CheckedInterface, optional_file, rounded


class _JudgeMapInputSpec(BaseInterfaceInputSpec):
    condmap_file = File(
        exists=True, mandatory=True, desc="conductivity in S/m; NaN in invalid voxels"
    )
    condstd_file = optional_file()
    mask_file = File(exists=True, mandatory=True)
    labels_file = optional_file()
    names_file = optional_file()
    frequency = traits.Float(mandatory=True, desc="Larmor frequency in Hz")
    provenance = traits.Dict({}, usedefault=True, desc="provenance of the map")


class _JudgeMapOutputSpec(TraitedSpec):
    provenance = traits.Dict(desc="fields for the sidecars, including the verdict")


class JudgeMap(CheckedInterface):
    """Interface that adds the verdict on a conductivity map to its provenance."""

    input_spec = _JudgeMapInputSpec
    output_spec = _JudgeMapOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        sidecar = CondmapSidecar.from_dict(inputs.provenance)
        across = sidecar.slices_aligned_along
        evidence = gather_evidence(
            read_volume(Path(inputs.condmap_file)),
            read_integers(Path(inputs.mask_file)) != 0,
            frequency=inputs.frequency,
            labels=read_integers(Path(inputs.labels_file)) if inputs.labels_file else None,
            names=read_names(Path(inputs.names_file)) if inputs.names_file else None,
            std=read_values(Path(inputs.condstd_file)) if inputs.condstd_file else None,
            reduced_chi_square=sidecar.reduced_chi_square,
            prior_chi_square=sidecar.prior_chi_square,
            n_failed_checks=len(sidecar.failed_image_checks or ()),
            axis_left_out=None if across is None else "ijk".index(across),
        )
        self._results["provenance"] = inputs.provenance | _describe(evidence).to_dict()
        return runtime


def _describe(evidence: Evidence) -> CondmapSidecar:
    """Return the sidecar fields of the verdict and its evidence."""
    verdict = judge(evidence)
    ratios = evidence.literature_ratio
    return CondmapSidecar(
        implausible_fraction=rounded(evidence.implausible_fraction),
        trend_inferior_superior=rounded(evidence.trend_inferior_superior),
        trend_left_right=rounded(evidence.trend_left_right),
        noise_ratio=rounded(evidence.noise_ratio),
        literature_ratio={name: round(ratio, 4) for name, ratio in ratios.items()},
        verdict=verdict.colour,
        verdict_reasons=list(verdict.reasons),
    )
