import numpy as np
import pytest

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation import brain
from bids_qcm.segmentation.brain import brain_mask_from_labels, brain_mask_from_magnitude
from bids_qcm.segmentation.template import TemplateFit

SHAPE = (40, 44, 30)
GRID = Grid(SHAPE, np.diag([4.0, 4, 5, 1]))


@pytest.fixture
def ball():
    axes = np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPE), indexing="ij")
    return sum((axis * size) ** 2 for axis, size in zip(axes, (4, 4, 5), strict=True)) < 60**2


@pytest.fixture
def fitted(monkeypatch):
    """Replace the registration by a given mutual information and a given brain mask."""

    def fitted(mask, information=0.5, chance=0.2):
        fit = TemplateFit(np.eye(4), information, chance)
        monkeypatch.setattr(brain, "fit_template", lambda *_: fit)
        monkeypatch.setattr(brain, "template_brain", lambda *_: mask)

    return fitted


def test_a_hull_fills_folds_and_ventricles(ball):
    labels = ball.astype(np.int32)
    labels[19:21, :, 20:] = 0
    labels[18:22, 20:24, 12:16] = 0
    labels[0, 0, 0] = 1
    hull = brain_mask_from_labels(Volume(labels, GRID))
    assert not hull[0, 0, 0]
    assert (hull & ~ball).sum() < 0.01 * ball.sum()
    assert (ball & ~hull).sum() < 0.02 * ball.sum()


def test_a_hull_reaches_the_edge_of_the_field_of_view():
    grid = Grid((6, 7, 5), GRID.affine)
    assert brain_mask_from_labels(Volume(np.ones(grid.shape, np.int32), grid)).all()
    assert not brain_mask_from_labels(Volume(np.zeros(grid.shape, np.int32), grid)).any()


def test_the_template_brain_is_restricted_to_the_signal(ball, fitted):
    skull = ball.copy()
    skull[12:28, :8, 8:22] = True
    fitted(skull)
    signal = ball.copy()
    signal[20, 22, 15] = False
    made = brain_mask_from_magnitude(Volume(signal * 100.0, GRID), signal)
    assert made.overlap == pytest.approx((skull & signal).sum() / skull.sum())
    assert made.mask[20, 22, 15]
    assert not (made.mask & ~ball).any()
    assert made.mask.sum() > 0.95 * ball.sum()


@pytest.mark.parametrize(
    ("information", "shift", "message"),
    [(0.24, 0, "hardly better than a flipped template"), (0.5, 22, "brain has signal")],
)
def test_a_template_that_does_not_fit_is_refused(ball, fitted, information, shift, message):
    fitted(np.roll(ball, shift, axis=1), information)
    with pytest.raises(ValueError, match=message):
        brain_mask_from_magnitude(Volume(ball * 100.0, GRID), ball)


def test_little_signal_is_not_a_head(ball):
    with pytest.raises(ValueError, match=r"ml of signal, less than the 150 ml expected for a head"):
        brain_mask_from_magnitude(Volume(ball * 100.0, Grid(SHAPE, GRID.affine / 3)), ball)
