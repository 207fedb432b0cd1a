import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_qcm.recon.kernels import as_triple, check_radius, ellipsoid, runs

sizes = st.floats(0.5, 3.0)
triples = st.tuples(sizes, sizes, sizes)
factors = st.tuples(*[st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.3, 5.0])] * 3)


def offsets_of(kernel):
    return np.argwhere(kernel) - np.array(kernel.shape) // 2


@given(voxel_size=triples, factor=factors)
def test_ellipsoid_contains_the_offsets_of_its_definition(slow, voxel_size, factor):
    radius = tuple(f * d for f, d in zip(factor, voxel_size, strict=True))
    expected = slow.ellipsoid_offsets(radius, voxel_size)
    found = offsets_of(ellipsoid(radius, voxel_size))
    assert set(map(tuple, found)) == set(map(tuple, expected))


@given(voxel_size=triples, factor=factors)
def test_runs_cover_the_kernel_once(voxel_size, factor):
    radius = tuple(f * d for f, d in zip(factor, voxel_size, strict=True))
    kernel = ellipsoid(radius, voxel_size)
    covered = [
        (kx, ky, kz) for kx, ky, first, last in runs(kernel) for kz in range(first, last + 1)
    ]
    assert sorted(covered) == sorted(map(tuple, offsets_of(kernel)))


def test_a_radius_of_n_voxels_includes_the_nth_voxel():
    # in floating-point arithmetic, 2.2 * 5 is greater than 11
    assert ellipsoid((11.0, 11.0, 11.0), (1.1, 1.1, 2.2)).shape == (21, 21, 11)


@pytest.mark.parametrize(("axis", "radius"), [("x", (1.4, 9, 9)), ("z", (9, 9, 2.1))])
def test_a_radius_below_a_voxel_names_axis_radius_and_voxel_size(axis, radius):
    voxel_size = (1.5, 1.5, 2.2)
    with pytest.raises(ValueError, match="fit radius") as error:
        check_radius(radius, voxel_size, "fit radius")
    a = "xyz".index(axis)
    for part in (f"along {axis}", f"{radius[a]:g} mm", f"{voxel_size[a]:g} mm"):
        assert part in str(error.value)


def test_a_radius_of_one_voxel_is_accepted():
    check_radius((1.1, 1.1, 0.0), (1.1, 1.1, 5.0), "fit radius")


@pytest.mark.parametrize("bad", [(1, 2), -1, float("nan"), (1, 2, float("inf")), ()])
def test_radii_are_one_or_three_finite_numbers(bad):
    with pytest.raises(ValueError, match="integral radius"):
        as_triple(bad, "integral radius")
