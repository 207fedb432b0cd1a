import numpy as np
import pandas as pd
import pytest

from bids_qcm.bids.scan_order import ScanOrder
from bids_qcm.reports.changes import DICTIONARY, changes_of, changes_section

ORDER = ScanOrder({"sub-1_ses-a": 0, "sub-1_ses-b": 1, "sub-1_ses-c": 2, "sub-2": 3}, False)

OTHERS = [{"atlas": "aparcaseg"}, {"method": "integral"}]


def row(source, region, mean, standard_error=0.03, **other):
    session = source.partition("_")[2]
    return {
        "participant_id": source[:5],
        "session_id": session or "n/a",
        "source": source,
        "acquisition": "n/a",
        "method": "inversion-seg",
        "atlas": "tissues",
        "erosion": 0,
        "label": 1,
        "region": region,
        "n": 100,
        "mean": mean,
        "standard_error": standard_error,
    } | other


def test_later_scans_are_compared_with_the_first_scan():
    rows = [
        row("sub-1_ses-c", "Lesion", 0.8),
        row("sub-1_ses-a", "Lesion", 0.9),
        row("sub-1_ses-b", "Lesion", 1.0, 0.04),
        row("sub-2", "Lesion", 0.7),
    ]
    table = changes_of(pd.DataFrame(rows), ORDER).set_index("source")
    assert sorted(table.index) == ["sub-1_ses-b", "sub-1_ses-c"]
    assert set(table["first_source"]) == {"sub-1_ses-a"}
    assert table["change"].to_dict() == pytest.approx({"sub-1_ses-b": 0.1, "sub-1_ses-c": -0.1})
    assert table.loc["sub-1_ses-b", "standard_error"] == pytest.approx(0.05)
    assert table.loc["sub-1_ses-b", "z"] == pytest.approx(2)
    assert table.loc["sub-1_ses-b", "p"] == pytest.approx(0.0455, abs=1e-4)


def test_only_comparable_regions_with_a_standard_error_are_compared():
    rows = [
        row("sub-1_ses-a", "x", 0.5),
        row("sub-1_ses-b", "x", 0.5),
        # not in the first scan, in no later scan, eroded, without noise, other kind of scan
        row("sub-1_ses-b", "y", 0.5),
        row("sub-1_ses-c", "y", 0.5),
        row("sub-1_ses-a", "z", 0.5),
        *(row(f"sub-1_ses-{one}", "e", 0.5, erosion=1) for one in "ab"),
        *(row(f"sub-1_ses-{one}", "n", 0.5, np.nan) for one in "ab"),
        *(row(f"sub-1_ses-{one}", "0", 0.5, 0.0) for one in "ab"),
        row("sub-1_ses-c", "x", 0.5, acquisition="acq-slow"),
    ]
    table = changes_of(pd.DataFrame(rows), ORDER)
    assert table[["source", "region"]].values.tolist() == [["sub-1_ses-b", "x"]]


def test_p_values_are_corrected_for_all_comparisons_of_an_atlas_and_a_method():
    rows = [row(f"sub-1_ses-{one}", str(n), 0.5) for one in "a" for n in range(3)]
    rows += [row("sub-1_ses-b", str(n), 0.5 + 0.04 * n) for n in range(3)]
    rows += [row("sub-1_ses-c", str(n), 0.52 + 0.04 * n) for n in range(3)]
    # another atlas and another method, which are corrected separately
    others = [row(f"sub-1_ses-{one}", "x", 0.5, **other) for one in "ab" for other in OTHERS]
    table = changes_of(pd.DataFrame(rows + others), ORDER)
    together = (table["atlas"] == "tissues") & (table["method"] == "inversion-seg")
    assert table.loc[together, "source"].nunique() == 2
    p = table.loc[together].sort_values("p", ascending=False)
    # in descending order: p n / rank, and never above a larger p
    expected = np.minimum.accumulate(p["p"] * 6 / np.arange(6, 0, -1))
    np.testing.assert_allclose(p["p_corrected"], expected)
    np.testing.assert_array_equal(table.loc[~together, "p_corrected"], table.loc[~together, "p"])


def test_the_page_lists_the_significant_changes():
    assert changes_section(changes_of(pd.DataFrame(), ORDER), {}) is None
    rows = [row("sub-1_ses-a", "x", 0.5), row("sub-1_ses-b", "x", 0.7)]
    rows += [row("sub-1_ses-a", "y", 0.5), row("sub-1_ses-b", "y", 0.5)]
    table = changes_of(pd.DataFrame(rows), ORDER)
    assert list(table) == list(DICTIONARY)
    section = changes_section(table, {source: source for source in ORDER.position})
    assert (section["level"], section["n"], section["n_found"]) == (0.05, 2, 1)
    (only,) = section["rows"]
    assert (only["region"], only["z"]) == ("x", "+4.7")
    assert only["change"] == "+0.200 ± 0.042"
