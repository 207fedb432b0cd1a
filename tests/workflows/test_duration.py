from dataclasses import replace

import numpy as np
import pytest

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.regions import Regions
from bids_qcm.bids.anatomy.spaces import OutputSpace, T1wImage
from bids_qcm.grids import Grid
from bids_qcm.workflows.acquisition import init_acquisition_wf
from bids_qcm.workflows.duration import (
    _THREADED,
    format_time,
    report_seconds,
    run_processor_seconds,
    run_seconds,
    seconds,
    step_durations,
    step_seconds,
)


@pytest.fixture
def plan(make_plans, settings):
    (plan,) = make_plans(settings(methods=("laplacian", "laplacian-mag", "integral")))
    return replace(plan, grid=Grid((200, 200, 200), np.eye(4)))


def test_more_work_takes_longer(plan, settings):
    given = settings()
    now = step_seconds(plan, given)
    assert step_seconds(replace(plan, echoes=plan.echoes * 5), given)["phi0"] > 2 * now["phi0"]
    large = replace(plan.kernels["laplacian"], fit_radius=(20, 20, 20))
    larger = step_seconds(replace(plan, kernels={**plan.kernels, "laplacian": large}), given)
    assert larger["reconstruct_laplacian"] > 5 * now["reconstruct_laplacian"]
    plain = step_seconds(plan, settings(uncertainty=False))
    assert plain["reconstruct_integral"] < now["reconstruct_integral"] / 5
    assert seconds(replace(plan, methods=plan.methods[:1]), given) < seconds(plan, given)


def test_a_brain_mask_has_fewer_voxels_than_a_mask_of_the_signal(plan, settings):
    brain, signal = (
        step_seconds(replace(plan, mask_origins=(origin,)), settings())["reconstruct_integral"]
        for origin in ("derivative", "signal")
    )
    assert brain < signal


def test_a_mask_on_another_grid_takes_longer(plan, settings):
    there = replace(plan, mask_alignment=Alignment(coreg="header"))
    same, other = (step_seconds(one, settings())["mask"] for one in (plan, there))
    assert same < other


def test_the_noise_of_small_voxels_is_computed_in_every_second_row_and_column(plan, settings):
    """A kernel that reaches over 12 to 17 voxels has a quarter of the noise replicates."""

    def ratio(size):
        given = replace(plan, grid=Grid((200, 200, 200), np.diag([size, size, size, 1])))
        radii = replace(plan.kernels["integral"], integral_radius=(12, 12, 12))
        given = replace(given, kernels={**plan.kernels, "integral": radii})
        noisy, plain = (
            step_seconds(given, settings(uncertainty=uncertainty))["reconstruct_integral"] - 1
            for uncertainty in (True, False)
        )
        return noisy / plain

    assert [ratio(size) for size in (1, 2)] == pytest.approx([1 + 10 / 4, 1 + 10])


def test_noise_maps_take_longer_only_if_there_are_regions(plan, settings):
    without = replace(plan, segmentation=None)
    noisy, plain = (
        seconds(plan, given) - seconds(without, given)
        for given in (settings(), settings(uncertainty=False))
    )
    assert noisy > plain


def test_lesions_and_atlases_take_longer(plan, settings, datasets):
    now = seconds(plan, settings())
    path = datasets["seg"] / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    lesions = replace(plan, lesions=AuxiliaryImage((path,), datasets["seg"], "lesions"))
    assert seconds(lesions, settings()) > now
    knee = replace(lesions, shows_head=False)
    assert now < seconds(knee, settings()) < seconds(lesions, settings())
    atlas = Regions("x", lesions.lesions, Alignment(same_grid=True), of_option=True)
    assert seconds(replace(plan, regions=(atlas,)), settings()) > now


def test_each_anatomical_image_is_registered_once(plan, settings, datasets):
    one, other = (Alignment(coreg="rigid", anatomical=datasets["seg"] / name) for name in "ab")
    both = replace(
        plan, lesion_alignment=one, segmentation_alignment=one, b1_alignment=other, regions=()
    )
    new = step_seconds(both, settings()).keys() - step_seconds(plan, settings()).keys()
    assert new == {"coregister", "coregister_b1"}


def test_threads_shorten_only_the_steps_that_use_them(plan, settings):
    total = run_processor_seconds([plan], settings())
    assert run_seconds([plan], settings()) == pytest.approx(total)
    one, four = (step_durations(plan, settings(omp_nthreads=n)) for n in (1, 4))
    assert four["reconstruct_integral"] == one["reconstruct_integral"] / 4
    assert four["phi0"] == one["phi0"]
    # the three methods are computed at the same time, and a step has no more threads than allowed
    inversion, others = (
        [time for step, time in one.items() if step.startswith("reconstruct_") is threaded]
        for threaded in (True, False)
    )
    report = report_seconds(plan)
    for n, together in ((2, 2), (4, 3)):
        expected = report + sum(others) + sum(inversion) / together
        assert seconds(plan, settings(nprocs=n)) == pytest.approx(expected)
    given = settings(nprocs=8, omp_nthreads=4)
    assert seconds(plan, given) == pytest.approx(report + sum(others) + sum(inversion) / 8)


def test_the_start_of_a_run_counts_once(plan, settings):
    once, twice = (run_seconds([plan] * n, settings()) for n in (1, 2))
    assert twice - once == pytest.approx(seconds(plan, settings()))
    assert twice < 2 * once
    assert run_seconds([], settings()) == 0


def test_spaces_take_longer_only_if_they_are_requested(plan, settings, datasets):
    path = datasets["seg"] / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    t1w = T1wImage(path, Alignment(coreg="header"))
    now = seconds(replace(plan, t1w=t1w), settings())
    native = replace(plan, t1w=t1w, spaces=(OutputSpace("T1w", t1w, path),))
    template = OutputSpace("MNI152NLin2009aSym", t1w, None, registers_template=True)
    assert (
        now < seconds(native, settings()) < seconds(replace(plan, spaces=(template,)), settings())
    )


def with_coils(plan, image):
    (echo,) = plan.echoes
    return replace(plan, echoes=(replace(echo, repetitions=(echo,)),))


def with_t1w(plan, image):
    """Return a plan that segments a T1w image, registers it and resamples the maps to its space."""
    alignment = Alignment(coreg="rigid", anatomical=image.path)
    t1w, auxiliary = T1wImage(image.path, alignment), replace(image, kind="t1w")
    return replace(
        plan,
        mask=auxiliary,
        mask_alignment=alignment,
        mask_origins=("T1w",),
        segmentation=auxiliary,
        segmentation_alignment=alignment,
        t1w=t1w,
        spaces=(
            OutputSpace("T1w", t1w, image.path),
            OutputSpace("MNI152NLin2009aSym", t1w, None, registers_template=True),
        ),
    )


def with_lesions_and_atlas(plan, image):
    alignment = Alignment(coreg="header", template_t1w=image.path)
    return replace(
        plan,
        lesions=replace(image, kind="lesions"),
        lesion_alignment=Alignment(coreg="rigid", anatomical=image.path),
        regions=(Regions("x", image, alignment, of_option=True),),
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda plan, image: plan,
        lambda plan, image: replace(plan, segmentation=None),
        lambda plan, image: replace(plan, may_have_bands=True),
        with_coils,
        with_t1w,
        with_lesions_and_atlas,
    ],
)
def test_all_steps_that_compute_have_an_estimate(make_plans, settings, datasets, change):
    given = settings(methods=("laplacian", "inversion"), omp_nthreads=2)
    (plan,) = make_plans(given)
    path = datasets["seg"] / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    plan = change(plan, AuxiliaryImage((path,), datasets["seg"]))
    workflow = init_acquisition_wf(plan=plan, settings=given, datasets=datasets, name="wf")
    computing = {name for name in workflow.list_node_names() if not name.startswith("write_")}
    assert step_seconds(plan, given).keys() == computing
    with_threads = {name for name in computing if workflow.get_node(name).n_procs > 1}
    assert {name for name in computing if name.startswith(_THREADED)} == with_threads


@pytest.mark.parametrize(
    ("time", "text"), [(99, "99 s"), (150, "2 min"), (3600, "60 min"), (7200, "2 h")]
)
def test_times_are_readable(time, text):
    assert format_time(time) == text
