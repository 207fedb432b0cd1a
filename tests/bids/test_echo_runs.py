import pytest

from bids_qcm.bids.echo_runs import echoes_named_as_runs

NAME = "sub-01_run-{}_{{}}_MEGRE"


@pytest.fixture
def find(dataset):
    """Return the names and echo times of the runs that belong to the same acquisition as run 1."""

    def find():
        image = dataset.root / "sub-01/anat/sub-01_run-1_part-phase_MEGRE.nii.gz"
        found = echoes_named_as_runs(image, dataset.root)
        return {path.name.split("_")[1]: time for path, time in found.items()}

    return find


def test_runs_with_different_echo_times_are_echoes(dataset, find):
    for run, time in ((1, 0.005), (3, 0.02), (2, 0.01)):
        dataset.pair(NAME.format(run), EchoTime=time)
    assert list(find().items()) == [("run-1", 0.005), ("run-2", 0.01), ("run-3", 0.02)]


def test_repetitions_are_not_echoes(dataset, find):
    for run in (1, 2):
        dataset.pair(NAME.format(run), EchoTime=0.005 + 1e-7 * run)
    assert find() == {}


def test_other_acquisitions_are_ignored(dataset, find):
    dataset.pair(NAME.format(1), EchoTime=0.005)
    for name in ("sub-01_acq-x_run-2_{}_MEGRE", "sub-01_run-2_{}_T2starw", "sub-01_{}_MEGRE"):
        dataset.pair(name, EchoTime=0.01)
    dataset.pair("._sub-01_run-2_{}_MEGRE", folder="sub-01/anat", EchoTime=0.01)
    assert find() == {}


@pytest.mark.parametrize("other", [None, "soon"])
def test_runs_without_echo_times_are_not_echoes(dataset, find, other):
    dataset.pair(NAME.format(1), EchoTime=0.005)
    dataset.pair(NAME.format(2), EchoTime=other)
    assert find() == {}


def test_a_broken_sidecar_of_another_run_is_not_an_error(dataset, find):
    dataset.pair(NAME.format(1), EchoTime=0.005)
    dataset.pair(NAME.format(2), EchoTime=0.01)
    dataset.json("sub-01/anat/sub-01_run-2_part-phase_MEGRE.json", "{")
    assert find() == {}


@pytest.mark.parametrize("name", ["sub-01_{}_MEGRE", "sub-01_run-1_echo-1_{}_MEGRE"])
def test_images_without_a_run_or_with_an_echo_are_not_examined(dataset, name):
    _, phase = dataset.pair(name)
    dataset.pair(name.replace("run-1", "run-2"), EchoTime=0.02)
    assert echoes_named_as_runs(phase, dataset.root) == {}
