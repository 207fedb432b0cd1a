from dataclasses import replace

import numpy as np
import pytest

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.regions import Regions
from bids_qcm.bids.anatomy.spaces import OutputSpace, T1wImage
from bids_qcm.grids import Grid
from bids_qcm.workflows.duration import seconds


@pytest.fixture
def plan(make_plans, settings):
    (plan,) = make_plans(settings(methods=("laplacian", "laplacian-mag", "integral")))
    return replace(plan, grid=Grid((200, 200, 200), np.eye(4)))


def test_more_work_takes_longer(plan, settings):
    given = settings()
    now = seconds(plan, given)
    assert seconds(replace(plan, methods=plan.methods[:1]), given) < now
    assert seconds(replace(plan, echoes=plan.echoes * 5), given) > now
    large = replace(plan.kernels["laplacian"], fit_radius=(20, 20, 20))
    assert seconds(replace(plan, kernels={**plan.kernels, "laplacian": large}), given) > 1.2 * now
    assert seconds(plan, settings(uncertainty=False)) < now / 2


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
    registered = Alignment(coreg="rigid", anatomical=path)
    assert seconds(replace(lesions, lesion_alignment=registered), settings()) == pytest.approx(
        seconds(lesions, settings()) + 20
    )
    atlas = Regions("x", lesions.lesions, Alignment(same_grid=True), of_option=True)
    assert seconds(replace(plan, regions=(atlas,)), settings()) > now


def test_more_threads_take_less_time(plan, settings):
    one, four = (seconds(plan, settings(nprocs=n)) for n in (1, 4))
    assert one / 4 < four < one / 2


def test_spaces_take_longer_only_if_they_are_requested(plan, settings, datasets):
    path = datasets["seg"] / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    t1w = T1wImage(path, Alignment(coreg="header"))
    now = seconds(plan, settings())
    assert seconds(replace(plan, t1w=t1w), settings()) == now
    native = replace(plan, t1w=t1w, spaces=(OutputSpace("T1w", t1w, path),))
    template = OutputSpace("MNI152NLin2009aSym", t1w, None, registers_template=True)
    assert (
        now < seconds(native, settings()) < seconds(replace(plan, spaces=(template,)), settings())
    )
