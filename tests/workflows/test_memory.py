import pytest

from bids_qcm.workflows.memory import phi0_gb, reconstruction_gb, volume_gb


@pytest.mark.parametrize("gigabytes", [reconstruction_gb, volume_gb, lambda n: phi0_gb(n, 1)])
def test_memory_grows_with_the_volume(gigabytes):
    # nipype's default would let a worker be killed
    assert 0.2 < gigabytes(0) < gigabytes(10**6) < gigabytes(10**7)


def test_memory_grows_with_the_echoes():
    one, two, three = (phi0_gb(10**7, n) for n in (1, 2, 3))
    assert one < two < three
    assert three - two == pytest.approx(two - one)


def test_replicates_need_more():
    assert reconstruction_gb(10**7, replicates=True) > 2 * reconstruction_gb(10**7)


def test_a_node_holds_its_volumes():
    # at least the float64 copies of phase, magnitude and mask
    n = 256**3
    assert min(phi0_gb(n, 1), reconstruction_gb(n), volume_gb(n)) > 3 * 8 * n / 1e9
