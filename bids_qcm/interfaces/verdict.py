"""Interface that computes the verdict on a conductivity map."""

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec, traits

from bids_qcm.bids.anatomy.label_tables import read_names
from bids_qcm.bids.images import read_integers, read_values, read_volume
from bids_qcm.checks.evidence import Evidence, gather_evidence
from bids_qcm.checks.verdict import judge
from bids_qcm.interfaces.base import FAILED_CHECKS, CheckedInterface, optional_file


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
        evidence = gather_evidence(
            read_volume(Path(inputs.condmap_file)),
            read_integers(Path(inputs.mask_file)) != 0,
            frequency=inputs.frequency,
            labels=read_integers(Path(inputs.labels_file)) if inputs.labels_file else None,
            names=read_names(Path(inputs.names_file)) if inputs.names_file else None,
            std=read_values(Path(inputs.condstd_file)) if inputs.condstd_file else None,
            reduced_chi_square=inputs.provenance.get("ReducedChiSquare"),
            prior_chi_square=inputs.provenance.get("PriorChiSquare"),
            n_failed_checks=len(inputs.provenance.get(FAILED_CHECKS, ())),
        )
        self._results["provenance"] = inputs.provenance | _described(evidence)
        return runtime


def _described(evidence: Evidence) -> dict[str, Any]:
    """Return the sidecar fields with the evidence and the verdict."""
    verdict = judge(evidence)
    ratios = evidence.literature_ratio
    shares = {
        "ImplausibleFraction": evidence.implausible_fraction,
        "TrendInferiorSuperior": evidence.trend_inferior_superior,
        "TrendLeftRight": evidence.trend_left_right,
        "NoiseRatio": evidence.noise_ratio,
    }
    return {
        # JSON has no NaN
        **{name: round(v, 4) for name, v in shares.items() if v is not None and np.isfinite(v)},
        "LiteratureRatio": {name: round(ratio, 4) for name, ratio in ratios.items()},
        "Verdict": verdict.colour,
        "VerdictReasons": list(verdict.reasons),
    }
