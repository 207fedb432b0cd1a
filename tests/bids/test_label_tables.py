import numpy as np
import pytest

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.label_tables import read_names, write_names


@pytest.fixture
def table(tmp_path):
    def write(content):
        path = tmp_path / "labels.tsv"
        path.write_text(content, encoding="utf-8")
        return path

    return write


def names(path, *labels):
    return read_names(path, np.array(labels, np.int32))


def test_names_of_the_labels_present(table):
    path = table("index\tname\tabbreviation\n1\tGray Matter\tGM\n2\tÖdem\tO\n3\tx\ty\n")
    assert names(path, 0, 2, 1, 2) == {1: "Gray Matter", 2: "Ödem"}


def test_a_label_without_a_name(table):
    assert names(table("index\tname\n1\tGM\n"), 1, 7) == {1: "GM", 7: "label-7"}


def test_no_table():
    assert names(None, 0, 3) == {3: "label-3"}


def test_a_tissue_may_be_called_na(table):
    assert names(table("index\tname\n1\tNA\n2\tNone\n"), 1, 2) == {1: "NA", 2: "None"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "index\tlabel\n1\tGM\n",
        "index,name\n1,GM\n",
        "index\tname\nGM\t1\n",
        "index\tname\nn/a\tGM\n",
    ],
)
def test_what_is_no_label_table_is_refused(table, content):
    path = table(content)
    with pytest.raises(InputError, match="give it the columns index and name") as error:
        names(path, 1)
    assert str(path) in str(error.value)


def test_not_utf8_is_refused(table):
    path = table("")
    path.write_bytes(b"index\tname\n1\t\xd6dem\n")
    with pytest.raises(InputError, match="is no label table"):
        names(path, 1)


def test_a_dangling_link_asks_for_the_content(tmp_path):
    path = tmp_path / "labels.tsv"
    path.symlink_to("gone")
    with pytest.raises(InputError, match=r"labels\.tsv: .*datalad get"):
        names(path, 1)


def test_written_names_are_read_again(tmp_path):
    path = tmp_path / "labels.tsv"
    written = {1: "Gray Matter", 5: "NA", 9: "Ödem"}
    write_names(path, written)
    assert path.read_text(encoding="utf-8").splitlines()[:2] == ["index\tname", "1\tGray Matter"]
    assert names(path, *written) == written
