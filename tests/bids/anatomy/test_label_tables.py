import numpy as np
import pytest

from bids_qcm.bids.anatomy.label_tables import (
    known_table,
    read_table,
    tissue_of_abbreviation,
    write_names,
)
from bids_qcm.bids.anatomy.sources import BIDS_LABELS, FREESURFER_LABELS
from bids_qcm.bids.errors import InputError

# Labels in SynthSeg's documentation, without and with cortical parcellation.
SYNTHSEG = [
    2,
    3,
    4,
    5,
    7,
    8,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    24,
    26,
    28,
    41,
    42,
    43,
    44,
    46,
    47,
]
SYNTHSEG += [49, 50, 51, 52, 53, 54, 58, 60, *range(1001, 1004), *range(1005, 1036)]
SYNTHSEG += [*range(2001, 2004), *range(2005, 2036)]


@pytest.fixture
def table(tmp_path):
    def write(content):
        path = tmp_path / "labels.tsv"
        path.write_text(content, encoding="utf-8")
        return path

    return write


def tissues(path):
    return {index: label.tissue for index, label in read_table(path).items()}


def test_names_are_kept(table):
    found = read_table(table("index\tname\tcolor\n0\tBG\tz\n1\tGray Matter\tx\n2\tÖdem\ty\n"))
    assert {index: label.name for index, label in found.items()} == {1: "Gray Matter", 2: "Ödem"}


@pytest.mark.parametrize(
    ("columns", "row", "tissue"),
    [
        ("tissue", "Rinde\tgm", "GM"),
        ("tissue", "White Matter\tother", "other"),
        ("mapping", "Rinde\t1", "GM"),
        ("mapping", "Tumor\t7", "other"),
        ("mapping", "White Matter\tn/a", "WM"),
        ("abbreviation", "Rinde\tCGM", "GM"),
        ("abbreviation", "Mark\tWM", "WM"),
        ("color", "CSF\t#ff0000", "CSF"),
        ("color", "grey matter\tx", "GM"),
        ("color", "subcortical_gray_matter\tx", "SGM"),
        ("color", "Left-Cerebral-White-Matter\tx", "WM"),
        ("color", "Right-Putamen\tx", "SGM"),
        ("color", "ctx-lh-insula\tx", "GM"),
        ("color", "NA\tx", "other"),
    ],
)
def test_the_tissue_of_a_row_follows_from_its_columns(table, columns, row, tissue):
    assert tissues(table(f"index\tname\t{columns}\n5\t{row}\n")) == {5: tissue}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "index\tlabel\n1\tGM\n",
        "index,name\n1,GM\n",
        "index\tname\nGM\t1\n",
        "index\tname\nn/a\tGM\n",
        "index\tname\n1\tGM\n1\tWM\n",
    ],
)
def test_an_invalid_label_table_is_refused(table, content):
    path = table(content)
    with pytest.raises(InputError, match="add the columns index and name") as error:
        read_table(path)
    assert str(path) in str(error.value)


def test_a_tissue_that_does_not_exist_is_refused(table):
    with pytest.raises(InputError, match="tissue 'brain' is not one of GM, WM, CSF, SGM, other"):
        read_table(table("index\tname\ttissue\n1\tx\tbrain\n"))


def test_a_table_that_is_not_utf8_is_refused(table):
    path = table("")
    path.write_bytes(b"index\tname\n1\t\xd6dem\n")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_table(path)


def test_the_error_for_a_dangling_link_shows_the_download_command(tmp_path):
    path = tmp_path / "labels.tsv"
    path.symlink_to("gone")
    with pytest.raises(InputError, match=r"labels\.tsv: .*datalad get"):
        read_table(path)


def test_written_names_are_read_again(tmp_path):
    path = tmp_path / "labels.tsv"
    written = {1: "Gray Matter", 5: "NA", 9: "Ödem"}
    write_names(path, written)
    assert path.read_text(encoding="utf-8").splitlines()[:2] == ["index\tname", "1\tGray Matter"]
    assert {index: label.name for index, label in read_table(path).items()} == written


def test_the_common_bids_labels_have_the_expected_tissues():
    table = known_table(BIDS_LABELS)
    assert sorted(table) == list(range(1, 12))
    assert [table[index].tissue for index in (1, 2, 3, 8, 9)] == ["GM", "WM", "CSF", "GM", "SGM"]
    assert tissue_of_abbreviation("GM") == "GM"
    assert tissue_of_abbreviation("brain") is None


def test_freesurfer_labels_include_all_synthseg_labels():
    assert set(SYNTHSEG) <= set(known_table(FREESURFER_LABELS))


@pytest.mark.parametrize(
    ("tissue", "labels"),
    [
        ("WM", [2, 41, 7, 46, 251, 255, 85]),
        ("GM", [3, 42, 8, 47, 17, 53, 18, 54, 1002, 2035]),
        ("CSF", [4, 43, 5, 44, 14, 15, 24]),
        ("SGM", [10, 49, 11, 50, 12, 51, 13, 52, 26, 58]),
        ("other", [16, 28, 60, 31, 63, 77]),
    ],
)
def test_freesurfer_labels_have_the_expected_tissues(tissue, labels):
    table = known_table(FREESURFER_LABELS)
    assert {table[label].tissue for label in labels} == {tissue}


def test_both_hemispheres_have_the_same_tissues():
    table = known_table(FREESURFER_LABELS)
    by_name = {label.name: label.tissue for label in table.values()}
    assert len(by_name) == len(table)
    for name, tissue in by_name.items():
        assert by_name[name.replace("Left-", "Right-").replace("-lh-", "-rh-")] == tissue
    assert np.isin([*range(1000, 1036), *range(2000, 2036)], list(table)).all()


def test_names_are_one_short_line(table):
    long, control = "x" * 20_000, "a\x00b\x1b[31m\u2028 c"
    found = read_table(table(f"index\tname\n1\t{long}\n2\t{control}\n"))
    assert found[1].name == "x" * 77 + "..."
    assert found[2].name == "a b [31m c"


def test_millions_of_rows_are_refused(table):
    rows = "".join(f"{number}\tx\n" for number in range(1, 100_003))
    with pytest.raises(InputError, match="has more than 100,000 rows"):
        read_table(table(f"index\tname\n{rows}"))
