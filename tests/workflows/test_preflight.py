from dataclasses import replace

import pytest

from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.run_records import Failure
from bids_qcm.grids import Grid
from bids_qcm.workflows import preflight
from bids_qcm.workflows.memory import preparation_gb, reconstruction_gb
from bids_qcm.workflows.preflight import Preflight, fit_memory


@pytest.fixture
def acquisitions(make_plans, settings):
    plans = make_plans(settings(), "sub-01_{}_T1w", "sub-01_{}_T2w")
    return [plan.acquisition for plan in plans]


@pytest.fixture
def looking(settings, datasets):
    def looking(**options):
        given = settings(**options)
        return Preflight(given, SearchedDatasets.of(given, {"seg": datasets["seg"]}))

    return looking


def test_both_plans_of_a_good_acquisition_differ_only_in_units(acquisitions, looking):
    outlines = looking().outline(acquisitions)
    checked = looking().check([result.plan for result in outlines])
    assert [result.acquisition for result in checked] == acquisitions
    assert [result.failures for result in (*outlines, *checked)] == [[]] * 4
    for outline, check in zip(outlines, checked, strict=True):
        assert outline.plan.echoes[0].units is None
        assert check.plan.echoes[0].units.name == "rad"
        # the grid contains an array, which cannot be compared with ==
        assert replace(outline.plan, echoes=(), grid=None) == replace(
            check.plan, echoes=(), grid=None
        )


def test_values_are_checked_only_in_the_second_plan(acquisitions, looking):
    path = acquisitions[0].files["phase"][""][0]
    path.write_bytes(path.read_bytes()[:-20])
    outlines = looking().outline(acquisitions)
    assert [result.failures for result in outlines] == [[], []]
    bad, good = looking().check([result.plan for result in outlines])
    assert bad.plan is None
    assert bad.failures == [Failure("checks", bad.why_skipped)]
    assert "cannot be read completely" in bad.why_skipped
    assert good.plan is not None


def test_header_errors_are_found_in_the_first_plan(acquisitions, looking):
    acquisitions[0].files["phase"][""][0].write_bytes(b"")
    bad, good = looking().outline(acquisitions)
    assert "cannot be read" in bad.why_skipped
    assert good.plan is not None


def test_an_unexpected_error_affects_only_one_acquisition(acquisitions, looking, monkeypatch):
    real = preflight.plan_acquisition

    def broken(acquisition, *args, **options):
        if acquisition is acquisitions[0]:
            raise ZeroDivisionError("of all things")
        return real(acquisition, *args, **options)

    monkeypatch.setattr(preflight, "plan_acquisition", broken)
    bad, good = looking().outline(acquisitions)
    assert "internal error" in bad.why_skipped
    assert "of all things" in bad.why_skipped
    assert good.plan is not None


def test_an_unknown_segmentation_dataset_is_an_error_for_the_run(looking):
    with pytest.raises(InputError, match="--segmentation no"):
        looking(segmentation="no")


@pytest.fixture
def big_plan(make_plans, settings):
    (plan,) = make_plans(settings(methods=("laplacian", "integral")))
    return replace(plan, grid=Grid((300, 300, 200), plan.grid.affine))


def test_methods_that_exceed_the_memory_limit_are_refused(big_plan, settings):
    given = settings()
    needed = reconstruction_gb(big_plan, given, "integral")
    assert fit_memory(big_plan, settings(memory_gb=needed + 0.01)) == big_plan
    fitted = fit_memory(big_plan, settings(memory_gb=needed - 0.01))
    assert fitted.methods == ("laplacian",)
    assert set(fitted.refused) == {"integral"}
    assert f"about {needed:.1f} GB" in fitted.refused["integral"]
    assert "--no-uncertainty" in fitted.refused["integral"]


def test_an_acquisition_that_exceeds_the_memory_limit_is_refused(big_plan, settings):
    needed = preparation_gb(big_plan)
    with pytest.raises(InputError, match=r"--mem") as error:
        fit_memory(big_plan, settings(memory_gb=needed - 0.01))
    assert error.value.where == big_plan.echoes[0].files[0]


def test_an_acquisition_is_refused_if_none_of_its_methods_fits(big_plan, settings):
    plan = replace(big_plan, methods=("integral",))
    limit = reconstruction_gb(plan, settings(), "integral") - 0.01
    assert limit > preparation_gb(plan)
    with pytest.raises(InputError, match="choose another --method"):
        fit_memory(plan, settings(memory_gb=limit))
