import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_qcm.recon.blocks import LANES, blocks_of, padded


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 200)),
    share=st.floats(0, 1),
    most_lanes=st.sampled_from([LANES, 192]),
)
def test_every_voxel_of_the_support_is_in_one_lane(seed, shape, share, most_lanes):
    support = (np.random.default_rng(seed).random(shape) < share).astype(np.int32)
    covered = np.zeros((shape[0], shape[1], shape[2] + 16), int)
    for x, y, z, lanes, n_before in blocks_of(support, most_lanes):
        assert lanes % 16 == 0
        assert 0 < lanes <= most_lanes
        assert support[x, y, z]
        assert n_before == np.count_nonzero(
            support.ravel()[: np.ravel_multi_index((x, y, z), shape)]
        )
        covered[x, y, z : z + lanes] += 1
    assert covered.max(initial=0) <= 1
    assert covered[:, :, : shape[2]][support != 0].all()


def test_padding_contains_the_kernel_at_any_block():
    volume = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    found = padded(volume, (1, 2, 3))
    assert found.shape == (4, 7, 10 + 19)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found[1:3, 2:5, 3:7], volume)
    assert found.sum() == volume.sum()
