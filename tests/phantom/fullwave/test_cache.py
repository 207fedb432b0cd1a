import numpy as np
import pytest

from bids_qcm.phantom.fullwave import cache, fields
from bids_qcm.phantom.fullwave.fields import CircularFields
from bids_qcm.phantom.grids import IsotropicGrid

GRID = IsotropicGrid(np.zeros(3), 5.0, (4, 5, 6))
PERMITTIVITY = np.full(GRID.shape, 50 - 20j)
FREQUENCY = 127.7e6


@pytest.fixture(autouse=True)
def solver(tmp_path, monkeypatch):
    """Use an empty cache, and return a list of the solved problems."""
    calls = []

    def solve(permittivity, grid, frequency, receive):
        calls.append((frequency, receive))
        value = np.complex64(permittivity.sum() * frequency)
        return CircularFields(np.full(grid.shape, value), np.full(grid.shape, 2 * value))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fields, "solve_fields", solve)
    return calls


def stored():
    return sorted(cache.cache_folder().iterdir())


def test_the_second_call_uses_the_cache(solver):
    first = cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY)
    second = cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY)
    assert len(solver) == len(stored()) == 1
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype == np.complex64


def test_the_fields_are_solved_again_if_any_input_changes(solver, monkeypatch):
    cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY)
    other = PERMITTIVITY.copy()
    other[0, 0, 0] += 1e-6
    cache.cached_fields(other, GRID, FREQUENCY)
    cache.cached_fields(PERMITTIVITY, GRID, 2 * FREQUENCY)
    cache.cached_fields(PERMITTIVITY, IsotropicGrid(GRID.origin, 4.0, GRID.shape), FREQUENCY)
    monkeypatch.setattr(cache, "COIL", fields.Birdcage(radius=0.15))
    cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY)
    assert len(solver) == len(stored()) == 5


def test_the_receive_coil_is_a_separate_entry(solver, monkeypatch):
    cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY)
    for _ in range(2):
        cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY, "array")
    assert solver == [(FREQUENCY, "birdcage"), (FREQUENCY, "array")]
    monkeypatch.setattr(cache, "ARRAY", fields.LoopArray(radius=0.14))
    cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY, "array")
    monkeypatch.setattr(cache, "WEIGHTS_RESOLUTION", 7.0)
    cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY, "array")
    assert len(solver) == len(stored()) == 4
    # the birdcage does not depend on the properties of the array
    cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY, "birdcage")
    assert len(solver) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other shape", "pickle"])
def test_a_damaged_file_is_replaced(solver, damage):
    whole = cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY)
    (path,) = stored()
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("nothing")
        case "other shape":
            np.savez(path, transmit=np.zeros(3, np.complex64), receive=np.zeros(3, np.complex64))
        case "pickle":
            np.savez(path, transmit=np.array([{}]), receive=np.array([{}]))
    again = cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY)
    assert len(solver) == 2
    np.testing.assert_array_equal(again.transmit, whole.transmit)
    assert path.read_bytes() == content
    assert stored() == [path]


def test_an_unwritable_folder_is_ignored(solver, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY)
    assert found.transmit.shape == GRID.shape


def test_a_failed_write_leaves_no_files(solver, monkeypatch):
    def fail(*_args, **_arrays):
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    cache.cached_fields(PERMITTIVITY, GRID, FREQUENCY)
    assert stored() == []


def test_default_folder_is_in_the_home(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "bids_qcm"
