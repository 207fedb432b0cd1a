import numpy as np
import pytest

from bids_qcm.recon.tissue_prior import TissuePrior
from tests.recon.equations import pair_matrix

SIZE = (2.0, 3.0, 2.5)
TO_MEAN = 0.02


@pytest.fixture
def case():
    """Return two tissues with weak links between them in a mask with a hole."""
    support = np.zeros((7, 6, 5), dtype=np.int32)
    support[1:4, 1:-1, 1:], support[4:6, 1:-1, 1:] = 4, 9
    support[2, 2, 2] = 0
    rng = np.random.default_rng(0)
    links = []
    for axis in range(3):
        link = np.zeros(support.shape)
        here = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        there = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        pair = (support[here] != 0) & (support[there] != 0)
        share = np.where(support[here] == support[there], 1.0, 0.02)
        link[here] = pair * share * rng.uniform(0.5, 2, pair.shape)
        links.append(link)
    return links, support


def dense(links, support):
    """Return the precision as a matrix over the voxels of the mask."""
    inside = support.ravel() != 0
    matrix = pair_matrix(links).toarray()[np.ix_(inside, inside)]
    tissue = support.ravel()[inside]
    same = tissue[:, None] == tissue[None]
    weight = TO_MEAN * np.prod(SIZE)
    return matrix + weight * (np.eye(len(tissue)) - same / same.sum(axis=1))


def test_precision_agrees_with_the_definition(case):
    links, support = case
    values = np.random.default_rng(1).standard_normal(support.shape)
    found = TissuePrior(links, support, SIZE, TO_MEAN).precision(values)
    inside = support != 0
    np.testing.assert_allclose(found[inside], dense(links, support) @ values[inside], atol=1e-4)
    assert not found[~inside].any()


def test_covariance_is_the_pseudoinverse(case):
    links, support = case
    values = np.random.default_rng(2).standard_normal(support.shape).astype(np.float32)
    inside = support != 0
    expected = np.linalg.pinv(dense(links, support), rcond=1e-9) @ values[inside]
    found = TissuePrior(links, support, SIZE, TO_MEAN).covariance(values)
    assert np.linalg.norm(found[inside] - expected) < 0.02 * np.linalg.norm(expected)
    assert not found[~inside].any()


def test_the_cost_of_tissue_means_is_only_the_cost_of_their_border(case):
    links, support = case
    means = np.choose(np.searchsorted([0, 4, 9], support), [0.0, 1.0, 3.0])
    found = TissuePrior(links, support, SIZE, TO_MEAN).precision(means)
    expected = (pair_matrix(links) @ means.ravel()).reshape(means.shape)
    np.testing.assert_allclose(found, np.where(support != 0, expected, 0), atol=1e-4)


def test_separate_parts_and_a_full_mask():
    support = np.ones((6, 4, 4), dtype=np.int32)
    links = [np.zeros(support.shape) for _ in range(3)]
    for axis in range(3):
        here = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        links[axis][here] = 1
    links[0][2] = 0
    values = np.random.default_rng(3).standard_normal(support.shape).astype(np.float32)
    prior = TissuePrior(links, support, SIZE, TO_MEAN)
    back = prior.precision(prior.covariance(values))
    np.testing.assert_allclose(back, values - values.mean(), atol=0.05)
