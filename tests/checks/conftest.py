import numpy as np
import pytest

from bids_qcm.phantom import make
from bids_qcm.phantom.parameters import PhantomParameters


@pytest.fixture(scope="session")
def make_phantom(share_heads):
    def make_phantom(parameters):
        with share_heads():
            return make.make_phantom(parameters)

    return make_phantom


@pytest.fixture(scope="session")
def head(make_phantom):
    """Return a head. Tests must copy its arrays before they change them."""
    return make_phantom(PhantomParameters(resolution=4))


@pytest.fixture(scope="session")
def three_echoes(make_phantom):
    return make_phantom(PhantomParameters(resolution=4, echo_times=(0.004, 0.009, 0.016)))


@pytest.fixture(scope="session")
def two_echoes(make_phantom):
    return make_phantom(PhantomParameters(resolution=4, echo_times=(0.004, 0.009)))


@pytest.fixture
def evidence():
    """Check the images, and return the quality measures."""
    from bids_qcm.checks.acquisition import check_acquisition

    def evidence(magnitudes, phases, times=(None,), size=4.0, **options):
        phases = [np.asarray(phase, np.float32) for phase in phases]
        return check_acquisition(list(magnitudes), phases, times, (size,) * 3, **options)

    return evidence
