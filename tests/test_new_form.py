"""A form that is added by the steps in docs/developers.md works everywhere in the app."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import binary_erosion, convolve

from bids_qcm.cli.phantom import main as phantom_main
from bids_qcm.cli.run import main
from bids_qcm.physics import conductivity_factor
from bids_qcm.recon import METHODS, Method, forms, methods, reconstruct
from bids_qcm.recon.forms import Form, Laplacian
from bids_qcm.recon.forms.base import EXACT
from bids_qcm.reports.comparison import arrange
from bids_qcm.settings import Settings
from tests.synthetic import FREQUENCY

# stencil of second differences over two voxels, in units of the voxel size
STENCIL = np.zeros((5, 5, 5))
STENCIL[[0, 4, 2, 2, 2, 2], [2, 2, 0, 4, 2, 2], [2, 2, 2, 2, 0, 4]] = 1 / 4
STENCIL[2, 2, 2] = -6 / 4


class WideForm(Form):
    """Finite differences over two isotropic voxels instead of one."""

    title = "wide"
    introduction = "The wide methods use distant neighbours [@voigt2011]."
    needs_noise = True

    def compute(self, volumes, method, kernels, *, uncertainty=True, noise_maps=False):
        if volumes.noise is None:
            raise ValueError(f"{method.name} needs a phase noise")
        stencil = STENCIL / (volumes.voxel_size[0] * 1e-3) ** 2
        valid = binary_erosion(volumes.support != 0, STENCIL != 0)
        values = convolve(volumes.phase, stencil)
        std = np.sqrt(convolve(volumes.noise.phase.astype(float) ** 2, stencil**2))
        values, std = (np.where(valid, one, np.nan).astype(np.float32) for one in (values, std))
        return Laplacian(values, std if uncertainty else None)

    def quantity(self, method):
        return "the Laplacian by differences over two voxels"

    def propagation(self, method):
        return EXACT

    def bytes_per_voxel(self, method, *, noise, noise_maps):
        return 2000 if noise else 1000

    def seconds_per_voxel(self, method, kernels, voxel_size, *, noise, uncertainty, noise_maps):
        return 0.1

    def is_compiled(self, method):
        return False


@pytest.fixture
def new_form(monkeypatch):
    """Add the module of the form, and add a row for each of its methods to the table."""
    module = ModuleType(f"{forms.__name__}.wide")
    module.FORM = WideForm()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for row in (
        Method("wide", "wide", "wide", "finite-difference", False, False, None, None),
        Method("wide-seg", "wideSeg", "wide", None, False, True, None, None),
    ):
        monkeypatch.setitem(methods._BY_NAME, row.name, row)


@pytest.fixture
def dataset(tmp_path, share_heads):
    with share_heads():
        assert phantom_main(["create", str(tmp_path / "raw"), "--resolution", "4"]) == 0
    return tmp_path / "raw"


@pytest.fixture
def run(dataset, tmp_path, in_process):
    """Run the command in this process, in which the form is defined."""

    def run(level, *options):
        options = [*in_process, "-w", str(tmp_path / "work"), *options]
        return main([str(dataset), str(tmp_path / "out"), level, *options])

    return run


@pytest.mark.usefixtures("new_form")
def test_a_new_form_reconstructs_a_known_conductivity():
    squares = np.square(np.mgrid[-8:9, -8:9, -8:9] * 4e-3).sum(axis=0)
    factor = conductivity_factor(FREQUENCY)
    phase = 0.5 / factor * squares / 6
    given = {"method": "wide", "voxel_size": 4, "frequency": FREQUENCY}
    found = reconstruct(phase, phase_noise=0.01, **given)
    np.testing.assert_allclose(found.conductivity[2:-2, 2:-2, 2:-2], 0.5, rtol=1e-4)
    std = factor * 0.01 * np.sqrt(6 + 6**2) / (2 * 4e-3) ** 2
    np.testing.assert_allclose(found.conductivity_std[2:-2, 2:-2, 2:-2], std, rtol=1e-4)
    with pytest.raises(ValueError, match="wide needs a phase noise"):
        reconstruct(phase, **given)


@pytest.mark.slow
@pytest.mark.usefixtures("new_form")
def test_a_new_form_works_in_the_whole_app(run, tmp_path, capsys):
    chosen = ("--method", "laplacian", "wide", "wide-seg")
    out = tmp_path / "out"

    assert run("participant", *chosen[:2], "--dry-run") == 0
    before = capsys.readouterr().out.splitlines()[1].split()
    assert run("participant", *chosen, "--dry-run") == 0
    plan = capsys.readouterr().out.splitlines()
    after = plan[1].split()
    assert "  methods      laplacian wide wide-seg" in plan
    # for each method, 2,000 bytes for each of 184,016 voxels and 0.04 s for each voxel of a brain
    assert float(after[-4]) > float(before[-4])
    assert (before[-1], after[-1]) == ("s", "min")

    assert run("participant", *chosen) == 0
    sidecar = json.loads((out / "sub-01/anat/sub-01_desc-wide_condmap.json").read_text())
    assert (sidecar["Method"], sidecar["B1Map"]) == ("wide", "none")
    std = json.loads((out / "sub-01/anat/sub-01_desc-wideSeg_condstd.json").read_text())
    assert std["Propagation"] == EXACT
    text = (out / "logs/CITATION.md").read_text()
    for words in (
        "The wide methods use distant neighbours",
        "The wide method computed the Laplacian by differences over two voxels.",
        "over two voxels, with a restriction to voxels of the same tissue.",
        "exactly through the Laplacian and wide methods",
    ):
        assert words in text
    page = (out / "sub-01.html").read_text()
    for name in ("Conductivity by wide", "Conductivity by wide-seg"):
        assert name in page

    assert run("group") == 0
    table = pd.read_csv(out / "group_condmap.tsv", sep="\t")
    assert list(dict.fromkeys(table["method"])) == list(chosen[1:])
    assert "wide-seg" in (out / "group_condmap.html").read_text()

    scored = ["score", str(tmp_path / "raw"), str(out), "--output-dir", str(tmp_path / "score")]
    assert phantom_main(scored) == 0
    brain = pd.read_csv(tmp_path / "score/brain.tsv", sep="\t")
    assert list(brain["method"]) == list(chosen[1:])


@pytest.mark.usefixtures("new_form")
def test_a_new_form_is_the_last_row_of_the_comparison():
    places, headings = arrange(METHODS)
    assert len(set(places.values())) == len(METHODS)
    assert {places[name][0] for name in ("wide", "wide-seg")} == {4}
    assert headings[places["wide-seg"][1]] == "segmentation"


@pytest.mark.usefixtures("new_form")
def test_the_settings_take_the_requirements_of_a_new_form_into_account():
    settings = Settings(Path("raw"), Path("out"), Path("work"), uncertainty=False)
    assert settings.needs_noise("wide")
    assert not settings.uses_b1("wide")
