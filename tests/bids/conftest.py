from pathlib import Path

import pytest

from tests.synthetic import AFFINE, Dataset, labels, magnitude, phase


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path / "data", Name="tiny")


@pytest.fixture
def phase_values():
    return phase()


@pytest.fixture
def magnitude_values():
    return magnitude()


@pytest.fixture
def label_values():
    return labels()


@pytest.fixture
def affine():
    return AFFINE.copy()


@pytest.fixture
def snapshot():
    """Return the content and modification time of all files in a folder."""

    def take(folder):
        files = (path for path in Path(folder).rglob("*") if path.is_file())
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    return take
