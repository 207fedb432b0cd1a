import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from bids_qcm.effects import EFFECT_COLUMNS, fit_effects, make_design


def people(n, **columns):
    return pd.DataFrame(columns, index=[f"sub-{number:03d}" for number in range(n)], dtype=object)


def two_groups(n, rng, *, covariate=True):
    groups = ["control", "patient"] * (n // 2)
    ages = {"age": [f"{age:.1f}" for age in rng.uniform(20, 80, n)]} if covariate else {}
    return people(n, group=groups, **ages)


@pytest.mark.parametrize("n", [16, 60])
def test_intervals_cover_the_known_effects(n):
    """The groups differ by 0.05 S/m, the effect of age is 0.001 S/m per year, and the variances
    differ."""
    rng = np.random.default_rng(n)
    table = two_groups(n, rng)
    is_patient = (table["group"] == "patient").to_numpy()[:, None]
    age = table["age"].astype(float).to_numpy()[:, None]
    noise = rng.normal(size=(n, 400)) * np.where(is_patient, 0.06, 0.03)
    values = pd.DataFrame(0.3 + 0.05 * is_patient + 0.001 * age + noise, table.index)
    found = fit_effects(values, make_design(table, "group", ["age"]))
    assert list(found) == ["key", *EFFECT_COLUMNS]
    for term, truth in (("group", 0.05), ("age", 0.001)):
        rows = found[found["term"] == term]
        assert len(rows) == 400
        covered = (rows["ci_low"] <= truth) & (truth <= rows["ci_high"])
        # HC3 is somewhat conservative: 96 to 97 % with 8 participants in each group
        assert 0.925 < covered.mean() < 0.985
        assert rows["estimate"].mean() == pytest.approx(truth, rel=0.1)
    rows = found[found["term"] == "group"]
    assert set(rows["level"]) == {"patient"}
    assert set(rows["reference"]) == {"control"}
    assert (rows["n_level"] == n // 2).all()


def test_intervals_of_hedges_g_cover_the_truth():
    rng = np.random.default_rng(3)
    table = two_groups(40, rng, covariate=False)
    is_patient = (table["group"] == "patient").to_numpy()[:, None]
    values = pd.DataFrame(0.3 + 0.02 * (0.8 * is_patient + rng.normal(size=(40, 400))), table.index)
    found = fit_effects(values, make_design(table, "group"))
    covered = (found["g_ci_low"] <= 0.8) & (found["g_ci_high"] >= 0.8)
    assert covered.mean() == pytest.approx(0.95, abs=0.03)
    assert found["hedges_g"].mean() == pytest.approx(0.8, abs=0.05)


def test_the_family_wise_error_rate_is_controlled(monkeypatch):
    """The regions are correlated, like the tissues of one brain."""
    # statsmodels collects garbage in each correction, which is slow in the process of the tests
    monkeypatch.setattr("gc.collect", lambda: 0)
    rng = np.random.default_rng(5)
    n, n_regions, n_studies = 24, 10, 100
    table = two_groups(n, rng, covariate=False)
    design = make_design(table, "group")
    n_wrong = 0
    for _ in range(n_studies):
        shared = rng.normal(size=(n, 1))
        values = pd.DataFrame(0.3 + shared + rng.normal(size=(n, n_regions)), table.index)
        n_wrong += (fit_effects(values, design)["p_corrected"] < 0.05).any()
    # 5 %, plus twice the standard error for 100 studies
    assert n_wrong / n_studies <= 0.05 + 2 * 0.022


def test_two_groups_agree_with_the_t_test_of_welch():
    rng = np.random.default_rng(1)
    table = two_groups(200, rng, covariate=False)
    values = pd.DataFrame(rng.normal(0.3, 0.1, (200, 1)), table.index)
    values[table["group"] == "patient"] += 0.02
    row = fit_effects(values, make_design(table, "group")).iloc[0]
    groups = [values[0][table["group"] == name] for name in ("patient", "control")]
    expected = ttest_ind(*groups, equal_var=False)
    assert row["estimate"] == pytest.approx(groups[0].mean() - groups[1].mean())
    assert row["p"] == pytest.approx(expected.pvalue, rel=0.05)
    assert row["p_corrected"] == row["p"]


def test_three_groups_are_compared_with_the_first():
    table = people(12, dose=["2", "10", "0"] * 4)
    values = pd.DataFrame({"x": [0.4, 0.9, 0.3] * 4}, table.index)
    values["x"] += np.tile([0.01, -0.01], 6)
    found = fit_effects(values, make_design(table, "dose"))
    assert found[["level", "reference"]].to_numpy().tolist() == [["2", "0"], ["10", "0"]]
    np.testing.assert_allclose(found["estimate"], [0.1, 0.6], atol=0.02)


def test_participants_with_a_missing_value_are_counted_and_left_out():
    rng = np.random.default_rng(0)
    table = two_groups(20, rng)
    table.loc[["sub-000", "sub-003"], "age"] = None
    table.loc["sub-005", "group"] = "pilot"
    design = make_design(table, "group", ["age"])
    assert len(design.matrix) == 17
    assert design.notes == (
        "2 participants have no value for age",
        "the column group has groups with fewer than 3 participants, which are left out: pilot",
    )
    values = pd.DataFrame(rng.normal(size=(20, 2)), table.index)
    values.iloc[10:, 1] = np.nan
    values.iloc[1, 0] = np.inf
    found = fit_effects(values, design).set_index(["key", "term"])
    assert found.loc[(0, "age"), "n"] == 16
    assert np.isfinite(found.loc[(0, "age"), "p_corrected"])


def test_a_region_with_few_values_has_no_estimate():
    rng = np.random.default_rng(0)
    table = two_groups(20, rng)
    values = pd.DataFrame(rng.normal(size=(20, 2)), table.index)
    values.loc[table.index[5:], 1] = np.nan
    found = fit_effects(values, make_design(table, "group", ["age"]))
    assert found[found["key"] == 1]["estimate"].isna().all()
    assert (found[found["key"] == 1]["n"] == 5).all()
    kept = found[found["key"] == 0]
    assert (kept["p_corrected"] == kept["p"]).all()


@pytest.mark.parametrize(
    ("group_by", "covariates", "message"),
    [
        ("sort", [], "there is no column sort; the columns are: group, age, twice, same, rare"),
        ("same", [], "needs at least two values with enough participants, but has only x"),
        ("group", ["same"], "the column same needs at least two values"),
        ("rare", [], "with enough participants, but has only missing values"),
        ("group", ["group"], "the column group is listed twice"),
        (None, ["age", "twice"], "is a linear combination of the others"),
    ],
)
def test_columns_that_determine_no_model_are_refused(group_by, covariates, message):
    table = people(
        8,
        group=["a", "b"] * 4,
        age=[str(30 + n) for n in range(8)],
        twice=[str(60 + 2 * n) for n in range(8)],
        same=["x"] * 8,
        rare=list("aabbccdd"),
    )
    with pytest.raises(ValueError, match=message):
        make_design(table, group_by, covariates)


def test_too_few_participants_are_refused():
    table = people(4, age=["30", "40", "50", "60"])
    with pytest.raises(ValueError, match="only 4 participants have values for age; at least 5"):
        make_design(table, None, ["age"])


@pytest.mark.filterwarnings("error")
def test_groups_without_variance_have_no_standardised_difference():
    table = two_groups(8, np.random.default_rng(0), covariate=False)
    values = pd.DataFrame({"x": [0.1, 0.3] * 4, "y": [0.2] * 8, "z": [0.0, 0.3] * 4}, table.index)
    found = fit_effects(values, make_design(table, "group")).set_index("key")
    differences = found["mean_level"] - found["mean_reference"]
    np.testing.assert_allclose(differences, [0.2, 0, 0.3], atol=1e-12)
    assert found[["hedges_g", "g_ci_low", "g_ci_high"]].isna().all(axis=None)
    assert found[["standard_error", "p", "p_corrected"]].isna().all(axis=None)


def test_a_table_without_regions_has_no_effects():
    table = two_groups(8, np.random.default_rng(0), covariate=False)
    found = fit_effects(pd.DataFrame(index=table.index), make_design(table, "group"))
    assert list(found) == ["key", *EFFECT_COLUMNS]
    assert found.empty
