from types import SimpleNamespace

import pytest

from bids_qcm.bids.participants import Phenotype
from bids_qcm.bids.scan_order import scan_order


def order(sources, times=None, column="acq_time"):
    """Return the sources in the order of the scans, and whether this is the order of time."""
    results = [
        SimpleNamespace(
            participant=source.split("_")[0],
            source=source,
            session=source.partition("_ses-")[2].split("_")[0] or None,
        )
        for source in sources
    ]
    phenotype = Phenotype(
        of_sessions={
            tuple(name.split("_")): {column: time, "days": "3"}
            for name, time in (times or {}).items()
        }
    )
    found = scan_order(results, phenotype)
    return sorted(sources, key=found.position.__getitem__), found.by_time


@pytest.mark.parametrize("key", ["ses", "run"])
def test_numbers_in_labels_are_sorted_by_value(key):
    expected = [f"sub-1_{key}-{n}" for n in (1, 2, 10, 20)]
    assert order(sorted(expected)) == (expected, False)


@pytest.mark.parametrize("column", ["acq_time", "sessions_acq_time"])
def test_sessions_are_in_the_order_of_time(column):
    sources = ["sub-1_ses-post", "sub-1_ses-pre_run-10", "sub-1_ses-pre_run-9", "sub-2_ses-post"]
    times = {"sub-1_ses-post": "1901-05-02T10:00:00", "sub-1_ses-pre": "1901-05-01T23:00:00.5Z"}
    expected = ["sub-1_ses-pre_run-9", "sub-1_ses-pre_run-10", "sub-1_ses-post", "sub-2_ses-post"]
    # the time of a participant with one session does not matter
    assert order(sources, times, column) == (expected, True)


@pytest.mark.parametrize("time", [None, "yesterday"])
def test_sessions_are_in_the_order_of_labels_if_one_time_is_missing(time):
    sources = ["sub-1_ses-a", "sub-1_ses-b", "sub-2_ses-a", "sub-2_ses-b"]
    times = {"sub-1_ses-a": "2020-02-01", "sub-1_ses-b": "2020-01-01", "sub-2_ses-a": "2020-01-01"}
    assert order(sources, {**times, "sub-2_ses-b": "2020-01-02"})[1]
    assert order(sources, {**times, "sub-2_ses-b": time}) == (sources, False)
