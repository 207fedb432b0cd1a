import pytest

from bids_qcm.recon.forms.base import n_voxels_within
from bids_qcm.recon.kernels import ellipsoid


@pytest.mark.parametrize(
    ("radius", "size"), [((9, 9, 9), (1, 1, 1)), ((9, 6, 12), (1, 1.5, 2)), ((9, 9, 0), (1, 1, 3))]
)
def test_the_estimated_size_of_a_kernel_agrees_with_its_voxels(radius, size):
    assert n_voxels_within(radius, size) == pytest.approx(ellipsoid(radius, size).sum(), rel=0.06)
