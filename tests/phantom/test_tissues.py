import numpy as np
import pytest

from bids_qcm.phantom.tissues import TISSUES, conductivity_map, paint

GRAY, WHITE, FLUID = TISSUES


@pytest.mark.parametrize(
    ("tissue", "at_64_mhz", "at_128_mhz"),
    [(WHITE, 0.291, 0.342), (GRAY, 0.511, 0.587), (FLUID, 2.066, 2.14)],
)
def test_reference_conductivities(tissue, at_64_mhz, at_128_mhz):
    assert tissue.conductivity(63.87e6) == pytest.approx(at_64_mhz)
    assert tissue.conductivity(127.74e6) == pytest.approx(at_128_mhz)


def test_conductivity_is_linear_in_log_frequency():
    step = WHITE.conductivity(127.74e6) - WHITE.conductivity(63.87e6)
    assert WHITE.conductivity(4 * 63.87e6) == pytest.approx(0.291 + 2 * step)


def test_labels_are_the_common_bids_labels():
    labels = {tissue.abbreviation: tissue.index for tissue in TISSUES}
    assert labels == {"GM": 1, "WM": 2, "CSF": 3}


def test_paint_leaves_unknown_labels_at_zero():
    labels = np.array([0, 1, 2, 255], dtype=np.uint8)
    np.testing.assert_array_equal(paint(labels, {1: 0.5, 2: 0.25}), [0, 0.5, 0.25, 0])


def test_conductivity_map_is_zero_outside_the_head():
    sigma = conductivity_map(np.array([[[0, 2, 3]]], dtype=np.uint8), 127.74e6)
    np.testing.assert_allclose(sigma, [[[0, 0.342, 2.14]]])
