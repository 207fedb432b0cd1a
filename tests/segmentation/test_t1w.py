import numpy as np
import pytest

from bids_qcm.grids import Grid, Volume
from bids_qcm.segmentation.t1w import segment_t1w
from tests import segmentation_trees as trees


@pytest.mark.slow
def test_the_tissues_of_the_phantom_are_found():
    head = trees.make_head(2, 8, (5, -10, 15), (1.6, 1.6, 2))
    rim = np.linspace(0.8, 1.2, head.t1w.shape[1])[:, None]
    found = segment_t1w(Volume(head.t1w * rim, head.t1w_grid))
    truth = head.brain_labels
    dices = [trees.dice(found == label, truth == label) for label in (1, 2, 3)]
    assert dices[0] > 0.9, dices
    assert dices[1] > 0.9, dices
    assert dices[2] > 0.6, dices
    assert trees.dice(found > 0, truth > 0) > 0.95


@pytest.mark.slow
def test_an_image_without_a_head_is_refused():
    noise = np.random.default_rng(0).normal(100, 10, (40, 40, 40))
    grid = Grid(noise.shape, np.diag([4.0, 4, 4, 1]))
    with pytest.raises(ValueError, match="hardly better than a flipped template"):
        segment_t1w(Volume(noise, grid))
