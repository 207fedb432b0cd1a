from pathlib import Path

import numpy as np
import pytest

from bids_qcm.bids.images import read_integers
from bids_qcm.interfaces.segmentation import ImportSegmentation


def test_labels_and_their_names(tmp_path, ball, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "t.tsv"
    table.write_text("index\tname\tcolor\n1\tGray Matter\tx\n9\tabsent\ty\n")
    interface = ImportSegmentation(segmentation_file=ball.files["labels"], table_file=str(table))
    outputs = interface.run().outputs
    np.testing.assert_array_equal(read_integers(Path(outputs.labels_file)), ball.labels)
    written = Path(outputs.table_file).read_text()
    assert written == "index\tname\n1\tGray Matter\n2\tlabel-2\n"


def test_without_a_table(tmp_path, ball, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = ImportSegmentation(segmentation_file=ball.files["labels"]).run().outputs
    assert Path(outputs.table_file).read_text() == "index\tname\n1\tlabel-1\n2\tlabel-2\n"


@pytest.mark.parametrize("output", ["labels_file", "table_file"])
def test_it_is_imported_again_when_an_output_is_gone(ball, check_rerun, output):
    check_rerun(lambda: ImportSegmentation(segmentation_file=ball.files["labels"]), output)
