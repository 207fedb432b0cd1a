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
    format_time,
    processor_seconds,
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
    assert seconds(plan, settings()) == processor_seconds(plan, settings())
    one, four = (step_durations(plan, settings(omp_nthreads=n)) for n in (1, 4))
    assert four["reconstruct_integral"] == one["reconstruct_integral"] / 4
    assert four["phi0"] == one["phi0"]
    # the total depends on the number of threads that run at the same time
    least = processor_seconds(plan, settings()) / 4
    assert least < seconds(plan, settings(nprocs=4)) < seconds(plan, settings())


def test_spaces_take_longer_only_if_they_are_requested(plan, settings, datasets):
    path = datasets["seg"] / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    t1w = T1wImage(path, Alignment(coreg="header"))
    now = seconds(replace(plan, t1w=t1w), settings())
    native = replace(plan, t1w=t1w, spaces=(OutputSpace("T1w", t1w, path),))
    template = OutputSpace("MNI152NLin2009aSym", t1w, None, registers_template=True)
    assert (
        now < seconds(native, settings()) < seconds(replace(plan, spaces=(template,)), settings())
    )


@pytest.mark.parametrize("segmentation", [True, False])
def test_all_steps_that_compute_have_an_estimate(make_plans, settings, datasets, segmentation):
    given = settings(methods=("laplacian", "inversion"))
    (plan,) = make_plans(given, segmentation=segmentation)
    workflow = init_acquisition_wf(plan=plan, settings=given, datasets=datasets, name="wf")
    computing = {name for name in workflow.list_node_names() if not name.startswith("write_")}
    assert step_seconds(plan, given).keys() == computing


@pytest.mark.parametrize(
    ("time", "text"), [(99, "99 s"), (150, "2 min"), (3600, "60 min"), (7200, "2 h")]
)
def test_times_are_readable(time, text):
    assert format_time(time) == text
