import base64
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.participants import read_phenotype
from bids_qcm.bids.results import find_results
from bids_qcm.bids.tables import CONDREGIONS, write_table
from bids_qcm.checks.literature import literature_conductivity
from bids_qcm.reports.group import write_group
from bids_qcm.reports.group_effects import group_effects
from bids_qcm.reports.group_plots import Scans, axis, axis_around, region_blocks
from bids_qcm.reports.group_regions import OWN_COLUMNS, RegionTable, participant_values
from bids_qcm.reports.group_request import GroupRequest
from bids_qcm.reports.outliers import (
    LEAST_VALUES,
    OUTLIER_SCORE,
    expected_outliers,
    modified_z_scores,
)
from bids_qcm.reports.pages import embedded
from tests.group_tables import region_table, write_scan, write_study


def test_scores_are_distances_in_robust_standard_deviations():
    values = pd.Series([*range(1, 10), 100.0, np.nan], dtype=float)
    scores = modified_z_scores(values)
    # The median is 5.5, and the median absolute deviation is 2.5.
    np.testing.assert_allclose(scores[:10], 0.6745 * (values[:10] - 5.5) / 2.5, rtol=1e-4)
    assert np.isnan(scores[10])
    assert (scores.abs() > OUTLIER_SCORE).tolist() == [False] * 9 + [True, False]


@pytest.mark.parametrize("values", [[*range(8), 99.0], [2.0] * 9 + [9.0]])
def test_few_or_equal_values_have_no_score(values):
    assert modified_z_scores(pd.Series(values)).isna().all()
    assert expected_outliers(LEAST_VALUES - 1) == 0


@pytest.mark.parametrize("n", [10, 24, 70, 400])
def test_the_expected_number_of_outliers_agrees_with_simulations(n):
    values = np.random.default_rng(n).normal(size=(n, 2000))
    scores = pd.DataFrame(values).apply(modified_z_scores)
    found = (scores.abs() > OUTLIER_SCORE).sum().mean()
    assert expected_outliers(n) == pytest.approx(found, rel=0.25)


def test_normal_values_are_rarely_outliers():
    values = pd.Series(np.random.default_rng(0).normal(0.34, 0.05, 10_000))
    scores = modified_z_scores(values)
    assert scores.std() == pytest.approx(1, abs=0.05)
    assert (scores.abs() > OUTLIER_SCORE).mean() < 0.002


@pytest.mark.parametrize(
    ("megahertz", "expected"), [(127.74, (0.342, 0.587, 2.14)), (63.87, (0.291, 0.511, 2.066))]
)
def test_literature_values_depend_on_the_field_strength(megahertz, expected):
    names = ("White Matter", "Gray Matter", "Cerebrospinal Fluid")
    found = literature_conductivity(1e6 * megahertz, names)
    assert [found[name] for name in names] == pytest.approx(expected, abs=0.004)


def test_axes_do_not_exaggerate_differences():
    assert axis([0.3, 0.4]) == [0, pytest.approx(0.42)]
    assert axis([-0.1, np.nan], marks=[1.0]) == pytest.approx([-0.105, 1.05])
    assert axis([]) == [0, 1]
    assert axis_around(pd.Series([0.33, 0.35])) == pytest.approx([0.17, 0.51])
    assert axis_around(pd.Series([0.1, 0.35]), [0.3, 0.34]) == pytest.approx([0.1, 0.51])
    assert axis_around(pd.Series(dtype=float)) == pytest.approx([0.5, 1.5])


def read(raw, out, damaged=None):
    damaged = [] if damaged is None else damaged
    names = sorted(path.name for path in out.glob("sub-*"))
    results = [one for name in names for one in find_results(out, name, damaged, from_tables=True)]
    phenotype = read_phenotype(raw, names, damaged, OWN_COLUMNS)
    return RegionTable(results, phenotype), phenotype, results


def test_the_region_table_has_the_columns_of_participants_and_sessions(tmp_path):
    raw, out = write_study(tmp_path, 3, 4)
    damaged = []
    regions, _, _ = read(raw, out, damaged)
    rows = regions.rows
    assert not damaged
    assert list(regions.dictionary) == list(rows)
    assert len(rows) == 3 * 2 * 4 * 2
    assert not rows.duplicated(["source", "method", "atlas", "label", "erosion"]).any()
    row = rows[(rows["participant_id"] == "sub-001") & (rows["session_id"] == "ses-b")].iloc[0]
    table = pd.read_csv(raw / "participants.tsv", sep="\t", dtype=str)
    assert row[["age", "sex", "group"]].tolist() == table.loc[1, ["age", "sex", "group"]].tolist()
    assert row["months"] == "1"
    assert regions.dictionary["age"] == {"Description": "Age", "Units": "year"}
    assert regions.dictionary["months"]["Description"] == "Column months of sessions.tsv"
    # three participants are not enough
    assert rows["outlier_score"].isna().all()
    assert not rows["outlier"].any()
    assert regions.n_expected == 0


def test_entities_are_columns_and_kinds_of_acquisitions_are_compared_separately(tmp_path):
    raw, out = write_study(tmp_path, 12, 3, sessions=[None])
    for path in out.glob("sub-*"):
        write_scan(out, path.name, None, {"a": 0.9}, entities="_acq-fast_run-2")
    regions, _, _ = read(raw, out)
    rows = regions.rows
    assert rows["acquisition"].unique().tolist() == ["n/a", "acq-fast"]
    assert set(rows[rows["acquisition"] == "acq-fast"]["run"]) == {"2"}
    assert rows.loc[rows["acquisition"] == "n/a", "outlier_score"].notna().all()
    # all values are equal
    assert rows.loc[rows["acquisition"] == "acq-fast", "outlier_score"].isna().all()


def test_outlying_regions_and_outlying_sessions_are_found(tmp_path):
    raw, out = write_study(tmp_path, 30, 12)
    medians = {f"region-{n:03d}": 0.4 + 0.2 * n / 12 for n in range(12)}
    write_scan(out, "sub-003", "a", {name: 1.4 * value for name, value in medians.items()})
    write_scan(out, "sub-004", "b", medians | {"region-005": 3.0})
    regions, _, _ = read(raw, out)
    rows = regions.rows.set_index(["source", "region", "erosion"])
    assert rows.loc[("sub-004_ses-b", "region-005"), "outlier"].all()
    assert not rows.loc["sub-004_ses-b", "session_outlier"].any()
    assert rows.loc["sub-003_ses-a", "session_outlier"].all()
    assert rows.loc["sub-003_ses-a", "outlier"].all()
    sessions = regions.sessions().set_index("source")
    assert len(sessions) == 60
    assert sessions.loc["sub-003_ses-a", ["n_regions", "n_outliers"]].tolist() == [12, 12]
    others = rows.drop(index=["sub-003_ses-a", "sub-004_ses-b"], level=0)
    assert others["outlier"].sum() <= 4 * regions.n_expected


def test_the_values_of_a_plot_can_be_decoded(tmp_path):
    raw, out = write_study(tmp_path, 4, 3)
    regions, _, results = read(raw, out)
    blocks, is_complete = region_blocks(regions, Scans(results))
    assert is_complete
    assert [block["erosion"] for block in blocks] == [0, 1]
    row = blocks[0]["rows"][1]
    integers = np.frombuffer(base64.b64decode(row["values"]), "<u2")
    values = row["low"] + integers / 65534 * (row["high"] - row["low"])
    rows = regions.rows
    expected = rows[(rows["region"] == row["name"]) & (rows["erosion"] == 0)]["median"]
    np.testing.assert_allclose(values, expected, atol=2e-5)


def test_embedded_data_cannot_end_their_element():
    assert "<" not in embedded({"a": "</script><script>alert(1)</script>"})


def test_an_effect_is_found_only_in_its_region(tmp_path):
    raw, out = write_study(tmp_path, 40, 8, effect=0.06)
    regions, phenotype, _ = read(raw, out)
    names = tuple(phenotype.of_participants)
    request = GroupRequest(out, names, raw, "group", ("age", "sex", "months"))
    with pytest.raises(InputError, match="months needs at least two values"):
        group_effects(regions, phenotype, request)
    request = GroupRequest(out, names, raw, "group", ("age", "sex"))
    table, notes = group_effects(regions, phenotype, request)
    assert notes == ()
    assert len(table) == 8 * 2 * 3
    found = table[(table["term"] == "group") & (table["p_corrected"] < 0.05)]
    assert found[["region", "erosion"]].to_numpy().tolist() == [
        ["region-000", 0],
        ["region-000", 1],
    ]
    assert (found["ci_low"] < 0.06).all()
    assert (found["ci_high"] > 0.06).all()
    # sessions are averaged
    assert (table["n"] == 40).all()


@pytest.mark.parametrize(
    ("group_by", "covariates", "message"),
    [
        ("diagnosis", (), "there is no column diagnosis; the columns are: age, sex, group, months"),
        ("months", (), "the column months differs between the sessions of sub-000"),
    ],
)
def test_columns_that_cannot_be_compared_are_refused(tmp_path, group_by, covariates, message):
    raw, out = write_study(tmp_path, 6, 2)
    regions, phenotype, _ = read(raw, out)
    request = GroupRequest(out, tuple(phenotype.of_participants), raw, group_by, covariates)
    with pytest.raises(InputError, match=message):
        group_effects(regions, phenotype, request)


def test_a_table_with_text_in_place_of_a_number_is_left_out(tmp_path):
    raw, out = write_study(tmp_path, 3, 2, sessions=[None])
    path = next((out / "sub-001").rglob("*_condregions.tsv"))
    path.write_text(path.read_text().replace("500", "many"))
    damaged = []
    regions, _, _ = read(raw, out, damaged)
    assert "has a value that is not a number" in str(damaged[0])
    assert set(regions.rows["participant_id"]) == {"sub-000", "sub-002"}


def add_regions(out, change):
    """Change the table of regions of each map, given the source of the map."""
    for path in sorted(out.rglob("*_condregions.tsv")):
        table = pd.read_csv(path, sep="\t", na_values="n/a")
        source = path.name.partition("_desc-")[0]
        write_table(path, change(table, source)[list(CONDREGIONS)], CONDREGIONS)


def group_study(raw, out, *options):
    names = tuple(sorted(path.name for path in out.glob("sub-*")))
    return GroupRequest(out, names, raw, *options)


def test_a_family_of_regions_without_values_has_no_effects(tmp_path):
    """All regions of an atlas of small lesions may vanish at the first erosion."""
    raw, out = write_study(tmp_path, 8, 2, sessions=[None])
    add_regions(out, lambda table, _: table.assign(median=table["median"].where(table.erosion < 1)))
    regions, phenotype, _ = read(raw, out)
    table, notes = group_effects(regions, phenotype, group_study(raw, out, "group"))
    assert set(table["erosion"]) == {0}
    assert len(table) == 2
    assert notes == ()


def test_a_note_states_that_no_region_has_a_value(tmp_path):
    raw, out = write_study(tmp_path, 8, 2, sessions=[None])
    add_regions(out, lambda table, _: table.assign(median=np.nan))
    regions, phenotype, _ = read(raw, out)
    table, notes = group_effects(regions, phenotype, group_study(raw, out, "group"))
    assert table.empty
    assert notes == ("no region has a median conductivity, so no effects are estimated",)
    assert write_group(group_study(raw, out, "group"), []).notes == list(notes)
    assert not (out / "group_effects.tsv").exists()


def test_lesions_are_in_the_table_but_not_compared(tmp_path):
    raw, out = write_study(tmp_path, 12, 3)

    def add_lesion(table, source):
        number = int(source[4:7])
        lesion = region_table({"Lesion 1": 0.7 + 0.01 * number}, "lesions")
        return pd.concat([table, lesion])

    before = read(raw, out)[0].sessions()
    add_regions(out, add_lesion)
    regions, phenotype, results = read(raw, out)
    lesions = regions.rows[regions.rows["atlas"] == "lesions"]
    assert len(lesions) == 12 * 2 * 2
    assert lesions["outlier_score"].isna().all()
    assert not lesions["outlier"].any()
    pd.testing.assert_frame_equal(regions.sessions(), before)
    table, _ = group_effects(regions, phenotype, group_study(raw, out, "group"))
    assert set(table["atlas"]) == {"aparcaseg"}
    blocks, _ = region_blocks(regions, Scans(results))
    assert {block["atlas"] for block in blocks} == {"aparcaseg"}
    write_group(group_study(raw, out), [])
    repeated = pd.read_csv(out / "group_repeatability.tsv", sep="\t")
    assert set(repeated["atlas"]) == {"aparcaseg"}


def test_lesions_alone_are_not_compared(tmp_path):
    raw, out = write_study(tmp_path, 12, 3)
    add_regions(out, lambda table, _: table.assign(atlas="lesions"))
    regions, phenotype, results = read(raw, out)
    assert regions.rows["outlier_score"].isna().all()
    assert regions.n_expected == 0
    assert group_effects(regions, phenotype, group_study(raw, out, "group"))[0].empty
    assert region_blocks(regions, Scans(results)) == ([], True)
    write_group(group_study(raw, out), [])
    assert set(pd.read_csv(out / "group_repeatability.tsv", sep="\t")["atlas"]) == {"tissues"}


def test_participant_values_have_a_column_for_each_region():
    rows = pd.DataFrame(
        [(f"sub-{n}", label, f"region-{label}", median)
         for n in range(3) for label in range(50)
         for median in (n + label, n + label + 1, np.nan if label else 5.0)],
        columns=["participant_id", "label", "region", "median"],
    )  # fmt: skip
    rows.loc[rows["label"] == 7, "median"] = np.nan
    values = participant_values(rows)
    assert values.shape == (3, 49)
    assert values.loc["sub-2", (3, "region-3")] == 5.5
    assert list(values.columns) == sorted(values.columns)


def test_tissues_are_compared_with_the_same_kind_of_acquisition(tmp_path):
    raw, out = write_study(tmp_path, 30, 2, sessions=[None])
    rng = np.random.default_rng(0)
    for path in sorted(out.glob("sub-*"))[:12]:
        scale = 2 + 0.03 * rng.normal()
        write_scan(out, path.name, None, {"a": 0.9}, entities="_acq-slow_run-1", scale=scale)
    write_group(group_study(raw, out), [])
    table = pd.read_csv(out / "group_condmap.tsv", sep="\t", keep_default_na=False)
    assert set(table["acquisition"]) == {"n/a", "acq-slow"}
    # pooled, all acquisitions with twice the conductivity would be outliers
    slow = table[table["acquisition"] == "acq-slow"]
    assert (slow["outlier_score"].astype(float).abs() < 5).all()
    assert slow["outlier"].sum() < 0.1 * len(slow)


def test_scans_without_a_table_of_regions_are_compared_by_tissue(tmp_path):
    raw, out = write_study(tmp_path, 6, 2)
    for path in out.glob("sub-*"):
        for session in "ab":
            write_scan(out, path.name, session, {"a": 0.5}, entities="_acq-slow")
    next((out / "sub-004/ses-b").rglob("*acq-slow*_condregions.tsv")).unlink()
    write_group(group_study(raw, out), [])
    table = pd.read_csv(out / "group_repeatability.tsv", sep="\t", keep_default_na=False)
    fast, slow = (table[table["acquisition"] == kind] for kind in ("n/a", "acq-slow"))
    assert set(fast["atlas"]) == {"aparcaseg"}
    assert set(slow["atlas"]) == {"aparcaseg", "tissues"}
    assert set(slow[slow["atlas"] == "tissues"]["n_participants"]) == {6}
    assert set(slow[slow["atlas"] == "aparcaseg"]["n_participants"]) == {5}


@pytest.mark.parametrize("with_times", [True, False])
def test_the_bias_is_the_last_scan_minus_the_first_scan(tmp_path, with_times):
    raw, out = write_study(tmp_path, 4, 1, sessions=["post", "pre"])
    for n in range(4):
        name = f"sub-{n:03d}"
        for session, value in (("pre", 0.5), ("post", 0.6)):
            write_scan(out, name, session, {"region-000": value + 0.01 * n})
        if with_times:
            (raw / name / f"{name}_sessions.tsv").write_text(
                "session_id\tacq_time\nses-pre\t2020-01-01T08:00:00\nses-post\t2020-02-01T08:00:00\n"
            )
    write_group(group_study(raw, out), [])
    table = pd.read_csv(out / "group_repeatability.tsv", sep="\t")
    assert table["bias"].tolist() == pytest.approx([0.1 if with_times else -0.1] * 2)
    page = (out / "group_condmap.html").read_text()
    assert ("Sessions are sorted by acq_time" in page) == with_times
    assert ("by their labels, in which numbers" in page) != with_times


def test_changes_are_on_the_page_only_if_there_are_repeated_scans(tmp_path):
    raw, out = write_study(tmp_path, 2, 1)
    write_scan(out, "sub-000", "a", {"region-000": 0.5})
    write_scan(out, "sub-000", "b", {"region-000": 0.6})
    files = [out / f"group_changes.{one}" for one in ("tsv", "json")]
    assert set(files) <= set(write_group(group_study(raw, out), []).paths)
    table = pd.read_csv(files[0], sep="\t").set_index("source")
    assert len(table) == 2
    assert table.loc["sub-000_ses-b", "change"] == pytest.approx(0.1)
    assert list(json.loads(files[1].read_text())) == list(pd.read_csv(files[0], sep="\t"))
    page = (out / "group_condmap.html").read_text()
    section = page[page.index('<h2 id="changes">') :].partition("</section>")[0]
    assert 'href="group_changes.tsv"' in section
    assert "1 of 2 comparisons" in section
    assert 'href="sub-000.html#sub-000_ses-b"' in section
    for number in range(2):
        shutil.rmtree(out / f"sub-00{number}" / "ses-b")
    write_group(group_study(raw, out), [])
    assert not [path for path in files if path.exists()]
    assert "group_changes" not in (out / "group_condmap.html").read_text()
