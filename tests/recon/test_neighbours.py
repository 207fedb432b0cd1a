import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bids_qcm.recon.neighbours import balance, differences, graph_laplacian, sum_of_cells

SHAPES = st.tuples(*[st.integers(1, 5)] * 3)


def volumes(shape):
    return arrays(np.float64, shape, elements=st.floats(-1, 1))


@given(st.data(), SHAPES)
def test_balance_is_the_adjoint_of_differences(data, shape):
    values = data.draw(volumes(shape))
    fluxes = differences(data.draw(volumes(shape)))
    there = sum((a * b).sum() for a, b in zip(differences(values), fluxes, strict=True))
    back = (values * balance(fluxes)).sum()
    np.testing.assert_allclose(there, back, atol=1e-12)


@given(st.data(), SHAPES)
def test_fluxes_between_voxels_sum_to_zero(data, shape):
    links = [np.abs(step) for step in differences(data.draw(volumes(shape)))]
    assert abs(graph_laplacian(links, data.draw(volumes(shape))).sum()) < 1e-12


def test_cells_at_the_end_may_be_incomplete():
    cells = sum_of_cells(np.ones((3, 4, 5)))
    assert cells.shape == (2, 2, 3)
    assert cells[0, 0, 0] == 8
    assert cells[1, 1, 2] == 2
