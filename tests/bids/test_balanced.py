import pytest

from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.dataset import find_acquisitions
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.planning import plan_acquisition

TRUFI = {"PulseSequenceDetails": "trufi"}


@pytest.fixture
def plan(dataset):
    def plan(**options):
        settings = dataset.settings(**options)
        (acquisition,) = find_acquisitions(settings)
        return plan_acquisition(
            acquisition, settings, SearchedDatasets.of(settings, {}), headers_only=True
        )

    return plan


@pytest.mark.parametrize("two_d", [True, False])
@pytest.mark.parametrize(
    ("options", "searched"),
    [
        ({"fit_radius": (9, 9, 9)}, True),
        ({"in_plane": "k"}, False),
        ({"fit_radius": (9, 9, 0)}, False),
    ],
)
def test_bands_are_searched_if_the_phase_is_differentiated_along_all_axes(
    dataset, plan, two_d, options, searched
):
    dataset.pair(**TRUFI, MRAcquisitionType="2D" if two_d else "3D")
    found = plan(**options)
    assert found.may_have_bands == searched
    assert any("because the map is in-plane" in text for text in found.warnings) != searched


def test_bands_of_several_echoes_are_not_searched(dataset, plan):
    for echo in (1, 2):
        dataset.pair(f"sub-01_echo-{echo}_{{}}_MEGRE", **TRUFI, EchoTime=0.002 * echo)
    found = plan()
    assert not found.may_have_bands
    assert any("because the image has several echoes" in text for text in found.warnings)


@pytest.mark.parametrize("entity", ["run", "acq"])
def test_phase_cycles_with_one_polarity_cause_a_warning(dataset, plan, entity):
    for number, increment in ((1, 180), (2, 0)):
        dataset.pair(f"sub-01_{entity}-{number}_{{}}_T2w", **TRUFI, RfPhaseIncrement=increment)
    found = plan(average_runs=(entity,))
    assert (found.phase_cycled, found.may_have_bands) == (True, False)
    (warning,) = found.warnings
    assert "with the opposite polarity as a separate acquisition" in warning


def test_phase_cycles_with_both_polarities_are_refused(dataset, plan):
    for polarity in ("AP", "PA"):
        for run, increment in ((1, 180), (2, 0)):
            name = f"sub-01_dir-{polarity}_run-{run}_{{}}_T2w"
            dataset.pair(name, **TRUFI, RfPhaseIncrement=increment)
    with pytest.raises(InputError, match="omit dir from --average-runs"):
        plan(average_runs=("run", "dir"))


def test_a_missing_increment_is_refused(dataset, plan):
    for run, increment in ((1, 180), (2, 0), (3, None)):
        dataset.pair(f"sub-01_run-{run}_{{}}_T2w", **TRUFI, RfPhaseIncrement=increment)
    with pytest.raises(InputError, match=r"sub-01_run-3_part-phase\S+: has no RfPhaseIncrement"):
        plan(average_runs=("run",))
