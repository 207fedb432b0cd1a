import json

import numpy as np
import pandas as pd
import pytest

from bids_qcm.bids.tables import (
    CONDREGIONS,
    CONDSTATS,
    read_condregions,
    read_condstats,
    write_table,
)

DICTIONARY = {
    "n": {"Description": "How many"},
    "mean": {"Description": "Mean", "Units": "S/m"},
    "more": {"Description": "Not in every table"},
}


def test_a_table_is_written_with_its_dictionary(tmp_path):
    table = pd.DataFrame({"n": [3, 0], "mean": [1 / 3, np.nan]})
    write_table(tmp_path / "a.tsv", table, DICTIONARY)
    assert (tmp_path / "a.tsv").read_text() == "n\tmean\n3\t0.333333\n0\tn/a\n"
    written = json.loads((tmp_path / "a.json").read_text())
    assert written == {name: DICTIONARY[name] for name in ("n", "mean")}


def test_every_column_must_be_described(tmp_path):
    with pytest.raises(KeyError, match="other"):
        write_table(tmp_path / "a.tsv", pd.DataFrame({"other": [1]}), DICTIONARY)
    assert not list(tmp_path.iterdir())


def test_written_statistics_are_read_back(tmp_path):
    row = dict.fromkeys(CONDSTATS, 0.5) | {"label": 3, "tissue": "n/a", "erosion": 2, "n": 7}
    rows = [row | {"tissue": 'a "b"\tc'}, row | {"sd": np.nan}]
    write_table(tmp_path / "a.tsv", pd.DataFrame(rows), CONDSTATS)
    first, second = read_condstats(tmp_path / "a.tsv")
    assert first == rows[0] | {"tissue": 'a "b" c'}
    assert np.isnan(second.pop("sd"))
    assert second.items() <= row.items()
    assert [type(first[name]) for name in ("label", "erosion", "n")] == [int] * 3


def test_a_table_of_regions_is_read_back(tmp_path):
    row = dict.fromkeys(CONDREGIONS, 0.5) | {"atlas": "aseg", "label": 10, "region": "n/a"}
    rows = [row | {"erosion": n, "n": 7, "standard_error": np.nan} for n in (0, 1)]
    write_table(tmp_path / "a.tsv", pd.DataFrame(rows), CONDREGIONS)
    first, second = read_condregions(tmp_path / "a.tsv")
    assert (first["atlas"], first["label"], first["region"]) == ("aseg", 10, "n/a")
    assert second["erosion"] == 1
    assert second["mean"] == 0.5
    assert np.isnan(second["standard_error"])
    write_table(tmp_path / "b.tsv", pd.DataFrame(columns=list(CONDREGIONS)), CONDREGIONS)
    assert read_condregions(tmp_path / "b.tsv") == []
