import json

import numpy as np
import pandas as pd
import pytest

from bids_qcm.bids.phantom.scores import COLUMNS, ScoreTables
from bids_qcm.phantom.score import score
from bids_qcm.phantom.truth import Truth

NAMES = {"participant_id": "sub-01", "method": "integral", "filename": "sub-01/anat/a.nii.gz"}
TISSUES = {2: "White Matter"}


def truth(*, lesion):
    x = np.linspace(0.3, 0.4, 20)
    conductivity = np.broadcast_to(x[:, None, None], (20, 12, 12)).copy()
    lesions = np.zeros(conductivity.shape, np.uint8)
    if lesion:
        lesions[9:11, 5:7, 5:7] = 4
        conductivity[lesions > 0] = 0.9
    labels = np.full(conductivity.shape, 2, np.uint8)
    return Truth(conductivity, labels, labels > 0, lesions, (2.0, 2.0, 2.0))


def test_tables_have_a_row_for_each_region_and_describe_each_column(tmp_path):
    known = truth(lesion=True)
    found = score(0.5 * known.conductivity, known)
    tables = ScoreTables()
    tables.add(NAMES, found, TISSUES)
    tables.add({**NAMES, "method": "other"}, found, TISSUES)
    written = tables.write(tmp_path)
    assert [path.name for path in written] == [f"{table}.tsv" for table in COLUMNS]
    rows = {"brain": 2, "tissues": 6, "lesions": 2, "variation": 4}
    for path in written:
        table = pd.read_csv(path, sep="\t")
        described = json.loads(path.with_suffix(".json").read_text())
        assert list(table.columns) == list(described) == list(COLUMNS[path.stem])
        assert all(column["Description"] for column in described.values())
        assert len(table) == rows[path.stem]
        assert table.method.tolist() == sorted(table.method)
    lesions = pd.read_csv(tmp_path / "lesions.tsv", sep="\t")
    assert lesions.tissue.tolist() == ["White Matter"] * 2
    assert lesions.recovered.to_numpy() == pytest.approx(0.5)
    tissues = pd.read_csv(tmp_path / "tissues.tsv", sep="\t")
    assert tissues.nrmse.to_numpy() == pytest.approx(0.5)


def test_tables_of_an_earlier_run_are_removed(tmp_path):
    for lesion in (True, False):
        known = truth(lesion=lesion)
        tables = ScoreTables()
        tables.add(NAMES, score(known.conductivity, known), TISSUES)
        tables.write(tmp_path)
        assert (tmp_path / "lesions.tsv").exists() == lesion
        assert (tmp_path / "lesions.json").exists() == lesion
        assert (tmp_path / "tissues.tsv").exists()
