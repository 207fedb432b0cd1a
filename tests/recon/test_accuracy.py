from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.phantom.conductivity import conductivity_map
from bids_qcm.phantom.forward import transceive_phase
from bids_qcm.phantom.image import add_noise, make_signal
from bids_qcm.recon import METHODS, reconstruct

# sorted by the fits of their kernels, which surface integrals with equal fits share
LOCAL = sorted(
    (name for name, method in METHODS.items() if method.form in ("laplacian", "integral")),
    key=lambda name: name.removesuffix("-ivw"),
)
F = 127.74e6
SNR = 16
VOXEL_SIZE = (1.0, 1.5, 2.0)
N_VOXELS = 500
# documented limit: with a smaller pivot, a fit counts as underdetermined
SMALLEST_PIVOT = 1e-6


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread():
    # use one BLAS thread, because synchronisation would take much longer than these small problems
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture(scope="module")
def head(slow):
    """Return part of a noisy phantom head, at the edge of the brain, with anisotropic voxels."""
    anatomy = make_anatomy(1.0)
    shape = anatomy.grid.shape
    # resample to the nearest neighbour, because the grids of the phantom are isotropic
    nearest = [
        np.arange(0, n - 0.5, d).round().astype(int) for n, d in zip(shape, VOXEL_SIZE, strict=True)
    ]
    part = np.ix_(nearest[0][19:45], nearest[1][50:72], nearest[2][29:45])
    rng = np.random.default_rng(0)
    sigma = conductivity_map(anatomy, F, 0.9, 0.0, rng)[part]
    magnitude = make_signal(anatomy, np.zeros(shape), None, 0).real[part]
    phi0 = transceive_phase(sigma, VOXEL_SIZE, F)
    mask = anatomy.brain[part]
    assert 0.5 < mask.mean() < 0.95
    image = add_noise(magnitude * np.exp(1j * phi0), magnitude[mask].mean() / SNR, rng)
    # unwrap relative to the true phase
    phase = phi0 + np.angle(image * np.exp(-1j * phi0))
    return slow.Volumes(
        phase=phase.astype(np.float32),
        mask=mask,
        magnitude=np.abs(image).astype(np.float32),
        labels=anatomy.labels[part].astype(int),
        voxel_size=VOXEL_SIZE,
    )


@pytest.fixture(scope="module")
def fits():
    """Return a dictionary in which maps of the head share their fits."""
    return {}


def run(volumes, method, fit_radius, integral_radius):
    return reconstruct(
        volumes.phase,
        method=method,
        voxel_size=volumes.voxel_size,
        frequency=F,
        mask=volumes.mask,
        magnitude=volumes.magnitude,
        labels=volumes.labels,
        fit_radius=fit_radius,
        integral_radius=integral_radius,
    ).conductivity


def assert_agreement(found, expected, spread):
    """Check that maps differ by at most 1e-3 of the spread, and that 99.9 % agree in validity."""
    valid = np.isfinite(expected)
    assert np.mean(np.isfinite(found) == valid) >= 0.999
    valid &= np.isfinite(found)
    assert np.abs(found - expected)[valid].max(initial=0) <= 1e-3 * spread


def compare(slow, volumes, method, radii, smallest_pivot, fits):
    """Compare a map with the simple definition at random voxels of the mask."""
    radii = [None if r is None else (float(r),) * 3 for r in radii]
    found = run(volumes, method, *radii)
    voxels = np.random.default_rng(1).permutation(np.argwhere(volumes.mask))[:N_VOXELS]
    expected = slow.Map(volumes, method, F, *radii, smallest_pivot, fits=fits).at(voxels)
    assert np.isfinite(expected).mean() > 0.6
    spread = np.nanstd(found[volumes.mask])
    assert_agreement(found[tuple(voxels.T)], expected, spread)


@pytest.mark.parametrize("method", LOCAL)
def test_published_kernels_agree_with_least_squares(slow, head, fits, method):
    radii = METHODS[method].fit_radius, METHODS[method].integral_radius
    # a fit is unique if NumPy finds full numerical rank
    compare(slow, head, method, radii, smallest_pivot=0, fits=fits)


@pytest.mark.parametrize("method", [name for name in LOCAL if not name.endswith("-fd")])
def test_small_kernels_agree_with_least_squares(slow, head, fits, method):
    radii = 4, METHODS[method].integral_radius and 5
    # With magnitude weights, some of these kernels have hardly more effective voxels than terms.
    # NumPy still finds full rank, but such a gradient would corrupt all integrals around it.
    compare(slow, head, method, radii, SMALLEST_PIVOT, fits)


@st.composite
def cases(draw):
    """Generate a grid, properties of its voxels, and kernels with radii in voxels."""
    flat = draw(st.sampled_from([None, None, 0, 1, 2]))
    side = st.integers(3, 12)
    fit, integral = (st.floats(low, 4) for low in (1.5, 1))
    return SimpleNamespace(
        shape=tuple(draw(st.integers(1, 4) if a == flat else side) for a in range(3)),
        voxel_size=draw(st.tuples(*[st.floats(0.5, 4)] * 3)),
        fit_radius=tuple(0 if a == flat else draw(fit) for a in range(3)),
        integral_radius=tuple(0 if a == flat else draw(integral) for a in range(3)),
        mask=draw(st.sampled_from(["irregular", "full", "sparse"])),
        numbers=np.array(draw(st.sampled_from([(0, 1, 2, 3), (0, 5, 5, 5), (2, -7, 100_000, 0)]))),
        share_without_phase=draw(st.sampled_from([0, 0.02, 0.3])),
        share_without_magnitude=draw(st.sampled_from([0, 0.02])),
        seed=draw(st.integers(0, 10_000)),
    )


def make_case(slow, case):
    volumes = slow.make_volumes(case.shape, case.voxel_size, case.seed)
    rng = np.random.default_rng(case.seed)
    if case.mask == "full":
        volumes.mask[:] = True
    elif case.mask == "sparse":
        volumes.mask &= rng.random(case.shape) < 0.6
    volumes.phase[rng.random(case.shape) < case.share_without_phase] = np.nan
    # Use bounded ranks, so that no voxel has a magnitude far from all other magnitudes. Otherwise,
    # neither float64 least squares nor float32 weights would be precise enough.
    volumes.magnitude = rankdata(volumes.magnitude).reshape(case.shape)
    volumes.magnitude[rng.random(case.shape) < case.share_without_magnitude] = np.nan
    volumes.labels = case.numbers[volumes.labels]
    return volumes


@settings(max_examples=200, deadline=None)
@given(case=cases(), method=st.sampled_from(LOCAL))
@pytest.mark.slow
def test_any_map_agrees_with_least_squares(slow, case, method):
    volumes = make_case(slow, case)
    usable = volumes.mask & np.isfinite(volumes.phase) & np.isfinite(volumes.magnitude)
    assume((usable & (volumes.labels != 0)).sum() > 1)
    radii = [
        tuple(n * d for n, d in zip(radius, case.voxel_size, strict=True))
        for radius in (case.fit_radius, case.integral_radius)
    ]
    found = run(volumes, method, *radii)
    assert not found[~volumes.mask].any()
    voxels = np.random.default_rng(case.seed).permutation(np.argwhere(volumes.mask))[:40]
    expected = slow.Map(volumes, method, F, *radii, SMALLEST_PIVOT).at(voxels)
    # use the size of the values instead of their spread, which may be 0 for so few values
    size = np.sqrt(np.nanmean(found[volumes.mask] ** 2)) if np.isfinite(expected).any() else 0
    assert_agreement(found[tuple(voxels.T)], expected, size)
