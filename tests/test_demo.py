"""The installed commands with all published methods, on phantoms with 2 mm voxels."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_qcm.recon import METHODS
from bids_qcm.recon.methods import PUBLISHED

pytestmark = pytest.mark.slow

COMMANDS = Path(sys.executable).parent


def command(name, *arguments):
    done = subprocess.run(
        [COMMANDS / name, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("model", ["convection-reaction", "laplacian"])
def test_ten_maps_are_computed_with_the_published_radii(tmp_path, validate, model):
    phantom, out = tmp_path / "phantom", tmp_path / "maps"
    # the first model is the default
    options = () if model == "convection-reaction" else ("--forward-model", model)
    command("bids-qcm-phantom", "create", phantom, *options)
    said = command(
        "bids-qcm", phantom, out, "participant", "--method", "all", "-w", tmp_path / "work"
    ).stderr
    assert (
        f"{len(PUBLISHED)} map(s) written, 0 unchanged; 1 acquisition(s) complete, 0 incomplete"
        in said
    )
    for dataset in (phantom, phantom / "derivatives/phantom", out):
        status, verdict = validate(dataset)
        assert status == 0, verdict
    command("bids-qcm-phantom", "score", phantom, out, "--output-dir", tmp_path / "score")
    scored = pd.read_csv(tmp_path / "score/brain.tsv", sep="\t", index_col="method")
    truth = phantom / "derivatives/phantom/sub-01/anat"
    sigma = nib.load(truth / "sub-01_desc-truth_condmap.nii.gz").get_fdata()
    labels = nib.load(truth / "sub-01_dseg.nii.gz").get_fdata()
    brain = nib.load(truth / "sub-01_desc-brain_mask.nii.gz").get_fdata() > 0
    error, gray = {}, {}
    for method in (METHODS[name] for name in PUBLISHED):
        path = out / f"sub-01/anat/sub-01_desc-{method.desc}_condmap.nii.gz"
        found = nib.load(path).get_fdata()
        error[method.name] = np.nanmean(np.abs(found - sigma)[brain])
        gray[method.name] = np.nanmedian(found[labels == 1])
        assert np.isfinite(found[brain]).mean() > 0.9
        assert scored.mae[method.name] == pytest.approx(error[method.name], rel=1e-4)
    # as in the source abstract, the surface integral and edge preservation both reduce the error
    assert error["laplacian-fd"] > error["integral-fd"] > 1
    for edges in ("mag", "seg", "magseg"):
        assert error[f"integral-{edges}"] < error[f"laplacian-{edges}"]
        assert error[f"integral-{edges}"] < error["integral"]
    if model == "laplacian":
        assert error["integral"] < 0.3
        for median in gray.values():
            assert median == pytest.approx(0.587, abs=0.08)
    else:
        # errors of the Laplacian at tissue borders increase the conductivity in the cortex
        assert error["integral-mag"] < 0.3
        for name in ("laplacian-mag", "integral-mag", "integral-magseg"):
            assert 0.587 < gray[name] < 0.8
