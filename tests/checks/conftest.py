import numpy as np
import pytest

from bids_qcm.phantom.make import make_phantom
from bids_qcm.phantom.parameters import PhantomParameters


@pytest.fixture(scope="session")
def head():
    """Return a head. Tests must copy its arrays before changing them."""
    return make_phantom(PhantomParameters(resolution=4))


@pytest.fixture(scope="session")
def three_echoes():
    return make_phantom(PhantomParameters(resolution=4, echo_times=(0.004, 0.009, 0.016)))


@pytest.fixture(scope="session")
def two_echoes():
    return make_phantom(PhantomParameters(resolution=4, echo_times=(0.004, 0.009)))


@pytest.fixture
def evidence():
    """Check the images, and return the quality measures."""
    from bids_qcm.checks.acquisition import check_acquisition

    def evidence(magnitudes, phases, times=(None,), size=4.0, **options):
        phases = [np.asarray(phase, np.float32) for phase in phases]
        return check_acquisition(list(magnitudes), phases, times, (size,) * 3, **options)

    return evidence
