import numpy as np
import pytest

from bids_qcm.bids.anatomy import datasets, label_tables, search, sources
from bids_qcm.bids.anatomy.datasets import derivative_datasets
from bids_qcm.bids.anatomy.search import find_segmentation
from bids_qcm.bids.anatomy.segmentations import read_tissues
from bids_qcm.bids.anatomy.sources import BIDS_LABELS, FREESURFER_LABELS, Source, source_of
from bids_qcm.grids import Grid


@pytest.mark.parametrize(
    ("entities", "name"),
    [
        ({"suffix": "dseg"}, "dseg without desc"),
        ({"suffix": "dseg", "desc": "aseg"}, "aseg"),
        ({"suffix": "dseg", "desc": "synthseg"}, "SynthSeg"),
        ({"suffix": "synthseg", "desc": "preproc"}, "SynthSeg"),
        ({"suffix": "dseg", "desc": "mine"}, "dseg with another desc"),
        ({"suffix": "probseg"}, "probability maps"),
    ],
)
def test_the_source_follows_from_the_name(entities, name):
    assert source_of(entities).name == name


def test_other_images_are_not_segmentations():
    assert source_of({"suffix": "T1w", "desc": "aseg"}) is None


def test_each_label_table_is_listed_once_and_the_common_labels_last():
    assert sources.numberings() == (FREESURFER_LABELS, BIDS_LABELS)


@pytest.fixture
def tomato(monkeypatch, tmp_path):
    """Add the software Tomato: one row of the table of sources, and one label table."""
    row = Source(
        "Tomato",
        desc="tomato",
        suffix="tomato",
        numbering="tomato_labels",
        undescribed=("sub-*/**/*_tomato.*",),
    )
    for module in (sources, search, datasets):
        monkeypatch.setattr(module, "SOURCES", (row, *sources.SOURCES))
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in (BIDS_LABELS, FREESURFER_LABELS):
        built_in = label_tables._BUILT_IN / f"{name}.tsv"
        (folder / f"{name}.tsv").write_bytes(built_in.read_bytes())
    (folder / "tomato_labels.tsv").write_text("index\tname\ttissue\n1\tPeel\tCSF\n2\tPulp\tWM\n")
    monkeypatch.setattr(label_tables, "_BUILT_IN", folder)
    label_tables.known_table.cache_clear()
    label_tables._tissues_by.cache_clear()
    yield
    label_tables.known_table.cache_clear()
    label_tables._tissues_by.cache_clear()


@pytest.mark.usefixtures("tomato")
def test_a_new_source_needs_one_row_and_one_table(dataset, label_values, affine):
    dataset.pair()
    path = dataset.segmentation("derivatives/soup/sub-01/anat/sub-01_T1w_tomato.nii.gz")
    folders = derivative_datasets(dataset.root, [], dataset.root / "out")
    assert list(folders) == ["soup"]
    grid = Grid(label_values.shape, affine)
    found = find_segmentation(dataset.acquisition(), grid, list(folders.values()), {})
    assert found.path == path
    tissues, names = read_tissues(found, None)
    assert names == {2: "White Matter", 3: "Cerebrospinal Fluid"}
    np.testing.assert_array_equal(tissues.values, np.where(label_values == 1, 3, 2))
