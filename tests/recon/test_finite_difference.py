import numpy as np
from scipy import ndimage

from bids_qcm.recon.finite_difference import fd_gradient, fd_laplacian

CROSS = ndimage.generate_binary_structure(3, 1)


def test_laplacian_is_the_sum_of_second_differences(volumes):
    phase, mask = volumes.phase.astype(float), volumes.mask
    found = fd_laplacian(phase, mask, volumes.voxel_size)
    valid = np.isfinite(found)
    # all neighbours must be inside the mask; voxels beyond the border of the volume are outside
    np.testing.assert_array_equal(valid, ndimage.binary_erosion(mask, CROSS))
    expected = sum(
        ndimage.correlate1d(phase, [1, -2, 1], axis) / (d * 1e-3) ** 2
        for axis, d in enumerate(volumes.voxel_size)
    )
    np.testing.assert_allclose(found[valid], expected[valid], rtol=1e-5, atol=1e-2)


def test_gradient_is_the_central_difference(volumes):
    phase, mask = volumes.phase.astype(float), volumes.mask
    found = fd_gradient(phase, mask, volumes.voxel_size)
    valid = ndimage.binary_erosion(mask, CROSS)
    np.testing.assert_array_equal(np.isfinite(found), np.stack([valid] * 3))
    for axis, d in enumerate(volumes.voxel_size):
        expected = ndimage.correlate1d(phase, [-1, 0, 1], axis) / (2e-3 * d)
        np.testing.assert_allclose(found[axis][valid], expected[valid], rtol=1e-5, atol=1e-4)


def test_an_excluded_axis_is_neither_read_nor_required():
    phase = np.zeros((5, 5, 1))
    phase += np.arange(5)[:, None, None] ** 2
    mask = np.ones(phase.shape, bool)
    assert fd_laplacian(phase, mask, (1.0, 1.0, 4.0), axes=(0, 1))[2, 2, 0] == 2e6
    assert np.isnan(fd_laplacian(phase, mask, (1.0, 1.0, 4.0))).all()
    assert fd_gradient(phase, mask, (1.0, 1.0, 4.0), axes=(0, 1))[:, 2, 2, 0].tolist() == [
        4e3,
        0,
        0,
    ]
