import pytest

from bids_qcm.bids.filters import check_filters, names, passes


@pytest.mark.parametrize("absent", [None, "Query.NONE", "<Query.NONE: 1>"])
def test_a_filter_may_require_that_an_entity_is_absent(absent):
    assert passes({"suffix": "T2w"}, {"session": absent})
    assert not passes({"ses": "a"}, {"session": absent})
    assert passes({}, {"session": ["a", absent]})
    assert not passes({"ses": "b"}, {"session": ["a", absent]})


@pytest.mark.parametrize("any_label", ["*", "Query.ANY", "Query.REQUIRED", "<Query.ANY: 2>"])
def test_a_filter_may_accept_any_label(any_label):
    assert passes({"ses": "a"}, {"session": any_label})
    assert not passes({}, {"session": any_label})


def test_an_optional_query_accepts_every_file():
    assert passes({}, {"run": "Query.OPTIONAL"})
    assert passes({"run": "1"}, {"run": "Query.OPTIONAL"})


def test_labels_are_compared_as_pybids_does():
    assert passes({"run": "01"}, {"run": 1})
    assert not passes({"run": "2"}, {"run": 1})
    assert not passes({}, {"run": 1})
    assert passes({"acq": "Query"}, {"acquisition": "Query"})


@pytest.mark.parametrize("wanted", ["Query.NOTHING", ["a", "Query.none"], "<Query.ALL: 9>"])
def test_an_unknown_query_is_reported(wanted):
    with pytest.raises(ValueError, match=r"is not one of Query\.NONE, Query\.ANY"):
        check_filters({"session": wanted}, "phase")


def test_a_condition_on_an_entity_is_found_by_its_full_or_short_name():
    assert names({"description": "x"}, "desc")
    assert names({"desc": "x"}, "desc")
    assert not names({"label": "x"}, "desc")
