import math
from itertools import combinations

import numpy as np
import pytest

from bids_qcm.phantom.grids import IsotropicGrid, grid_around
from bids_qcm.phantom.lesions import TUMOUR_CENTRE, Ball, place_small_lesions


@pytest.mark.parametrize("resolution", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("diameter", [4, 9, 20])
def test_ball_has_the_correct_volume_and_position(resolution, diameter):
    ball = Ball((3.3, -2.1, 0.4), diameter)
    grid = grid_around((-15, -15, -15), (15, 15, 15), resolution, margin=0)
    where, fraction = ball.fill(grid)
    assert fraction.max() <= 1
    assert fraction.sum() * resolution**3 == pytest.approx(math.pi / 6 * diameter**3, rel=0.04)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        profile = fraction.sum(axis=others)
        centre = np.average(grid.centres(axis)[where[axis]], weights=profile)
        assert centre == pytest.approx(ball.centre[axis], abs=0.05 * resolution)


def test_ball_outside_the_grid_fills_nothing():
    _, fraction = Ball((100, 0, 0), 10).fill(IsotropicGrid(np.zeros(3), 1.0, (5, 5, 5)))
    assert fraction.size == 0


@pytest.fixture(scope="module")
def block():
    """Return gray matter on the left and white matter on the right, surrounded by fluid."""
    grid = IsotropicGrid(np.array([-90.0] * 3), 2.0, (91, 91, 91))
    x, y, z = np.ix_(*(grid.centres(axis) for axis in range(3)))
    tissue = np.maximum(np.maximum(abs(x), abs(y)), abs(z)) <= 80
    return grid, tissue & (x < 0), tissue & (x >= 0)


def place(block, seed):
    grid, gray, white = block
    rng = np.random.default_rng(seed)
    return place_small_lesions(gray.astype(float), white.astype(float), grid, rng)


@pytest.mark.parametrize("seed", range(5))
def test_small_lesions_keep_away_from_fluid_tumour_and_each_other(block, seed):
    lesions = place(block, seed)
    assert [lesion.diameter for lesion in lesions] == [16] * 3 + [12] * 3 + [8] * 3 + [6] * 3 + [
        4
    ] * 3
    for one, other in combinations([*lesions, Ball(TUMOUR_CENTRE, 40)], 2):
        gap = math.dist(one.centre, other.centre) - (one.diameter + other.diameter) / 2
        assert gap >= 15
    for lesion in lesions:
        assert np.abs(lesion.centre).max() + lesion.diameter / 2 <= 80
    in_gray = [lesion.centre[0] < 0 for lesion in lesions]
    assert in_gray == [False, True, False] * 5


def test_positions_depend_on_the_seed(block):
    assert place(block, 1) == place(block, 1)
    assert place(block, 1) != place(block, 2)
