import numpy as np
import pytest

from bids_qcm.phantom.fullwave.lattice import (
    FreeSpace,
    cells_to_edges,
    curl_of_edges,
    gradient_of_divergence,
    green_function,
    static_green_function,
)


def negative_laplacian(green):
    """Return the negative Laplacian of a function that is mirrored from one octant."""
    full = np.pad(green, ((1, 0),) * 3, mode="reflect")
    core = (slice(1, -1),) * 3
    total = 6 * full[core]
    for axis in range(3):
        for part in (slice(None, -2), slice(2, None)):
            total -= full[tuple(part if a == axis else slice(1, -1) for a in range(3))]
    return total


def test_static_green_function_solves_the_lattice_equation():
    green = static_green_function((50, 41, 45))
    # the value at the origin is Watson's integral
    assert green[0, 0, 0] == pytest.approx(0.2527310098586630, abs=1e-12)
    source = negative_laplacian(green)
    assert source[0, 0, 0] == pytest.approx(1, abs=1e-12)
    source[0, 0, 0] = 0
    # the array includes the border between the table and the expansion
    assert np.abs(source).max() < 1e-8
    np.testing.assert_allclose(green[49, 30, 20], 1 / (4 * np.pi * np.sqrt(3701)), rtol=1e-4)


def test_green_function_solves_the_helmholtz_equation_at_7_t():
    wavenumber, spacing = 6.25, 3e-3
    green = green_function((50, 50, 50), spacing, wavenumber)
    core = green[:-1, :-1, :-1]
    source = negative_laplacian(green) / spacing**2 - wavenumber**2 * core
    source *= spacing**3
    assert source[0, 0, 0] == pytest.approx(1, abs=1e-5)
    source[0, 0, 0] = 0
    assert np.abs(source).max() < 1e-5


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_convolution_is_the_sum(dtype):
    shape, rng = (7, 10, 13), np.random.default_rng(0)
    source = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    found = FreeSpace(shape, 0.01, 20.0, workers=1).convolve(source)
    assert found.dtype == dtype
    green = green_function(shape, 0.01, 20.0) * 0.01**3
    for point in [(0, 0, 0), (6, 3, 12), (2, 9, 5)]:
        x, y, z = (np.abs(np.arange(n) - i) for n, i in zip(shape, point, strict=True))
        expected = (green[np.ix_(x, y, z)] * source).sum()
        np.testing.assert_allclose(found[point], expected, rtol=1e-5)


def test_double_curl_agrees_with_finite_differences():
    """Compare the interior with `curl curl A` from backward and forward differences."""
    shape = (9, 10, 11)
    rng = np.random.default_rng(1)
    current = np.zeros((3, *shape), complex)
    current[:, 3:6, 3:6, 3:6] = rng.standard_normal((3, 3, 3, 3))
    space = FreeSpace(shape, 0.003, 3.0, workers=1)
    faces = curl_of_edges(space.vector_potential(current), 0.003)

    def backward(field, axis):
        return field - np.roll(field, 1, axis)

    x, y, z = faces
    expected = np.stack(
        [
            backward(z, 1) - backward(y, 2),
            backward(x, 2) - backward(z, 0),
            backward(y, 0) - backward(x, 1),
        ]
    )
    core = (slice(None), *[slice(2, -2)] * 3)
    found = space.double_curl(current)[core]
    np.testing.assert_allclose(
        found, expected[core] / 0.003, rtol=0, atol=1e-5 * np.abs(current).max()
    )


def test_gradients_have_no_curl_and_cells_are_averaged():
    rng = np.random.default_rng(2)
    field = rng.standard_normal((3, 6, 7, 8))
    curl = curl_of_edges(gradient_of_divergence(field, 0.1), 0.1)
    scale = np.abs(field).max() / 0.1**3
    assert np.abs(curl[:, 1:-2, 1:-2, 1:-2]).max() < 1e-12 * scale
    cells = rng.standard_normal((5, 6, 7))
    edges = cells_to_edges(cells)
    assert edges[0, 2, 3, 4] == pytest.approx(cells[2, 2:4, 3:5].mean())
    assert edges[1, 2, 3, 4] == pytest.approx(cells[1:3, 3, 3:5].mean())
    assert edges[2, 2, 3, 4] == pytest.approx(cells[1:3, 2:4, 4].mean())
