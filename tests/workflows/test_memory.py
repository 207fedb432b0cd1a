import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.datasets import SearchedDatasets, derivative_datasets
from bids_qcm.bids.anatomy.spaces import OutputSpace, T1wImage
from bids_qcm.bids.dataset import find_acquisitions
from bids_qcm.cli.phantom import main as phantom_main
from bids_qcm.grids import Grid
from bids_qcm.workflows import memory
from bids_qcm.workflows.base import init_bids_qcm_wf
from bids_qcm.workflows.fork_server import PRELOADED
from bids_qcm.workflows.plugin import SurvivingMultiProcPlugin
from bids_qcm.workflows.preflight import Preflight
from tests import segmentation_trees
from tests.synthetic import Dataset


@pytest.fixture
def big(make_plans, settings):
    """A plan with a grid of the given number of voxels."""

    def big(n_voxels, n_echoes=1, **options):
        (plan,) = make_plans(settings(methods=("laplacian", "integral"), **options))
        grid = Grid((n_voxels, 1, 1), plan.grid.affine)
        return replace(plan, grid=grid, echoes=plan.echoes * n_echoes)

    return big


def test_memory_grows_with_the_volume(big, settings):
    small, large = big(10**6), big(10**7)
    for needs in (
        memory.check_gb,
        memory.phi0_gb,
        memory.sign_gb,
        memory.reading_gb,
        lambda plan: memory.reconstruction_gb(plan, settings(), "integral"),
        lambda plan: memory.acquisition_gb(plan, settings()),
    ):
        assert needs(large) - needs(small) > 9e6 * 2 * 4 / 1e9


def test_memory_grows_with_the_echoes(big):
    for needs in (memory.check_gb, memory.phi0_gb):
        one, two, three = (needs(big(10**7, n)) for n in (1, 2, 3))
        assert one < two < three
        assert three - two == pytest.approx(two - one)


def test_memory_grows_with_the_coils(big):
    def needed(n_coils, shape=(100, 100, 100)):
        plan = big(10**6)
        grid = Grid(shape, plan.grid.affine)
        echo = replace(plan.echoes[0], repetitions=plan.echoes * (n_coils - 1))
        return memory.preparation_gb(replace(plan, grid=grid, echoes=(echo,)))

    assert needed(1) <= needed(2) < needed(64)
    # every second voxel of long axes is compared
    assert needed(128) - needed(64) == pytest.approx(64 * 28 * 50**3 / 1e9)
    assert needed(64, (64, 64, 64)) > needed(64)


@pytest.mark.parametrize(
    ("method", "options", "replicates"),
    [
        ("laplacian", {}, False),
        ("integral", {}, True),
        ("integral", {"uncertainty": False}, False),
        ("integral", {"uncertainty": False, "integral_radius": "auto"}, True),
    ],
)
def test_noise_replicates_need_more_memory(big, settings, method, options, replicates):
    plan = big(10**7)
    plain = memory.reconstruction_gb(plan, settings(uncertainty=False), "laplacian")
    needed = memory.reconstruction_gb(plan, settings(**options), method)
    assert (needed > 2 * plain) == replicates


def test_noise_maps_need_memory_only_if_there_are_regions(big, settings):
    plan = big(10**7)
    without = replace(plan, segmentation=None)
    saved = [
        memory.reconstruction_gb(plan, given, "laplacian")
        - memory.reconstruction_gb(without, given, "laplacian")
        for given in (settings(), settings(uncertainty=False))
    ]
    assert saved == pytest.approx([10**7 * 40 / 1e9, 0])


def test_an_acquisition_needs_the_memory_of_its_largest_node(big, settings):
    plan = big(10**7)
    given = settings()
    assert memory.acquisition_gb(plan, given) == memory.reconstruction_gb(plan, given, "integral")
    many = big(10**7, 20)
    assert memory.acquisition_gb(many, given) == memory.check_gb(many)


def test_the_memory_limit_is_the_option_or_nine_tenths_of_the_memory(settings):
    assert memory.memory_limit_gb(settings(memory_gb=1.5)) == 1.5
    assert 0 < memory.memory_limit_gb(settings()) <= 0.9 * memory.available_memory_gb()


class MeasuringPlugin(SurvivingMultiProcPlugin):
    """Plugin that runs each node in a separate process, and records its peak memory."""

    def __init__(self, plugin_args):
        super().__init__(plugin_args)
        self.peaks = {}

    def _get_result(self, taskid):
        node, _ = self._task_obj[taskid]
        status = Path(f"/proc/{self._running[taskid]._process.pid}/status")
        result = super()._get_result(taskid)
        if result is not None:
            line = next(line for line in status.read_text().splitlines() if "VmHWM" in line)
            self.peaks[node.name] = int(line.split()[1]) * 1024 / 1e9, node.mem_gb
            self._idle.pop().end()
        return result


@pytest.fixture
def peaks_of(tmp_path, settings, monkeypatch):
    """Map an acquisition; return the measured and the declared peak memory of each node in GB."""
    # nipype and the workers read this variable
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def peaks_of(raw, **options):
        given = settings(bids_dir=raw, **options)
        derivatives = derivative_datasets(raw, (), given.output_dir)
        preflight = Preflight(given, SearchedDatasets.of(given, derivatives))
        (outline,) = preflight.outline(find_acquisitions(given))
        (result,) = preflight.check([outline.plan])
        plans = [result.plan]
        datasets = {"raw": raw, **derivatives}
        workflow = init_bids_qcm_wf(plans=plans, settings=given, datasets=datasets)
        multiprocessing.set_forkserver_preload(PRELOADED)
        arguments = {"n_procs": 1, "raise_insufficient": False, "mp_context": "forkserver"}
        plugin = MeasuringPlugin(arguments)
        workflow.run(plugin=plugin)
        return plugin.peaks

    return peaks_of


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    ("methods", "options"),
    [
        (("laplacian-fd", "laplacian-magseg", "integral"), {}),
        (("integral-magseg",), {"uncertainty": False}),
    ],
)
def test_nodes_declare_their_peak_memory(tmp_path, peaks_of, methods, options):
    """On a head with 2 mm voxels, or with the voxel size in ``MEMORY_RESOLUTION``."""
    resolution = os.environ.get("MEMORY_RESOLUTION", "2")
    phantom = ["create", str(tmp_path / "raw"), "--resolution", resolution]
    assert phantom_main([*phantom, "--echo-times", "0.004", "0.010", "0.018"]) == 0
    radii = {"fit_radius": (6, 6, 6), "integral_radius": (6, 6, 6)}
    peaks = peaks_of(tmp_path / "raw", methods=methods, **radii, **options)
    assert {f"reconstruct_{name.replace('-', '_')}" for name in methods} <= set(peaks)
    for name, (measured, declared) in peaks.items():
        assert declared == pytest.approx(measured, rel=0.3), name


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_nodes_with_registration_declare_their_peak_memory(tmp_path, peaks_of):
    size = float(os.environ.get("MEMORY_RESOLUTION", "3"))
    head = segmentation_trees.make_head(size, 3, (3, -3.5, 2), (size, size, size))
    raw = segmentation_trees.write_raw(tmp_path / "raw", head)
    segmentation_trees.PRODUCERS["fmriprep"](raw / "derivatives/fmriprep", head)
    t1w = raw / "sub-01/anat/sub-01_T1w.nii.gz"
    segmentation_trees.save(t1w, head.t1w, head.t1w_affine)
    peaks = peaks_of(raw, methods=("laplacian-seg",), segmentation="t1w")
    assert {"coregister", "tissue_classes", "mask", "segmentation"} <= set(peaks)
    for name, (measured, declared) in peaks.items():
        assert declared == pytest.approx(measured, rel=0.3), name


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("kind", ["coils", "bands"])
def test_nodes_that_process_images_declare_their_peak_memory(tmp_path, peaks_of, kind):
    shape = (96, 96, 80)
    x = (np.indices(shape, dtype=np.float32).T - [47.5, 47.5, 39.5]).T * 2e-3
    signal = (np.sum(x**2, axis=0) < 0.07**2) * np.exp(100j * np.sum(x**2, axis=0))
    noise = np.random.default_rng(0).normal(scale=0.02, size=(2, *shape))
    signal = (signal + noise[0] + 1j * noise[1]).astype(np.complex64)
    fields = {"PulseSequenceDetails": "trufi"}
    if kind == "coils":
        signal = np.stack([signal * np.exp(1j * coil) for coil in range(12)], axis=-1)
        fields = {"CoilString": list("ABCDEFGHIJKL")}
    volumes = {"mag": np.abs(signal), "phase": np.angle(signal)}
    Dataset(tmp_path / "raw", np.diag([2, 2, 2, 1]), volumes).pair(**fields)
    peaks = peaks_of(tmp_path / "raw", methods=("laplacian-fd",), mask="signal")
    measured, declared = peaks["combine" if kind == "coils" else "bands"]
    assert declared == pytest.approx(measured, rel=0.3)


def test_resampling_to_a_template_needs_more_memory(big, settings, datasets):
    plan = big(10**5)
    path = datasets["seg"] / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    t1w = T1wImage(path, Alignment(coreg="header"))
    template = OutputSpace("MNI152NLin2009aSym", t1w, None, registers_template=True)
    # the template has nine million voxels
    assert memory.resampling_gb(plan, template) > 1.5
    assert memory.resampling_gb(plan, OutputSpace("T1w", t1w, path)) < 0.5
    with_spaces = replace(plan, t1w=t1w, spaces=(template,))
    assert memory.acquisition_gb(with_spaces, settings()) > 1.5
    assert memory.acquisition_gb(replace(plan, t1w=t1w), settings()) < 0.5
