import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_qcm.repeatability import (
    Repeatability,
    last_minus_first,
    repeatability,
    repeatability_table,
    scan_table,
)

# Shrout and Fleiss 1979, table 2: six targets, four judges
SHROUT = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)


def draw(rng, n=50, k=2, wsd=0.02, between=0.05, mean=0.6):
    return mean + between * rng.standard_normal((n, 1)) + wsd * rng.standard_normal((n, k))


def test_icc_agrees_with_a_published_example():
    """Table 4 of the publication: ICC(1,1) = 0.17, mean squares 11.24 and 6.26."""
    one = repeatability(SHROUT)
    assert one.icc == pytest.approx(0.166, abs=0.001)
    assert one.wsd**2 == pytest.approx(6.264, abs=0.001)
    # as computed by the R package "psych"
    assert (one.icc_ci_low, one.icc_ci_high) == pytest.approx((-0.133, 0.723), abs=0.001)


def test_known_variances_are_found():
    one = repeatability(draw(np.random.default_rng(0), n=20_000))
    assert one.wsd == pytest.approx(0.02, rel=0.02)
    assert one.rc == pytest.approx(1.96 * np.sqrt(2) * 0.02, rel=0.02)
    assert one.icc == pytest.approx(0.05**2 / (0.05**2 + 0.02**2), rel=0.02)
    assert one.wcv == pytest.approx(0.02 / 0.6, rel=0.03)
    assert one.mean == pytest.approx(0.6, rel=0.01)


@pytest.mark.parametrize("k", [2, 4])
def test_intervals_cover_the_truth(k):
    rng = np.random.default_rng(1)
    truth = {"wsd": 0.02, "rc": 0.05544, "icc": 0.0025 / 0.0029, "bias": 0.0}
    covered = dict.fromkeys(truth, 0)
    trials = 800
    for _ in range(trials):
        one = repeatability(draw(rng, n=12, k=k))
        for name, value in truth.items():
            low, high = (getattr(one, f"{name}_ci_{end}") for end in ("low", "high"))
            covered[name] += low <= value <= high
    for name, number in covered.items():
        # three standard errors of 800 trials
        assert number / trials == pytest.approx(0.95, abs=0.024), name


def test_differences_of_95_percent_are_below_the_repeatability_coefficient():
    scans = draw(np.random.default_rng(2), n=5000)
    one = repeatability(scans)
    assert np.mean(np.abs(last_minus_first(scans)) < one.rc) == pytest.approx(0.95, abs=0.01)


def test_bias_and_limits_of_agreement_are_correct():
    scans = draw(np.random.default_rng(3), n=5000) + np.array([0, 0.03])
    one = repeatability(scans)
    assert one.bias == pytest.approx(0.03, abs=0.002)
    sd = np.sqrt(2) * 0.02
    assert (one.loa_low, one.loa_high) == pytest.approx(
        (0.03 - 1.96 * sd, 0.03 + 1.96 * sd), abs=3e-3
    )
    small = repeatability(scans[:10])
    d = scans[:10, 1] - scans[:10, 0]
    assert (small.bias_ci_low, small.bias_ci_high) == pytest.approx(
        stats.ttest_1samp(d, 0).confidence_interval()
    )
    # Bland and Altman 1986: the standard error of a limit is about sqrt(3 / n) sd
    margin = stats.t.ppf(0.975, 9) * np.sqrt(3 / 10) * d.std(ddof=1)
    assert small.loa_margin == pytest.approx(margin, rel=0.05)


def test_mean_squares_agree_with_an_analysis_of_variance():
    """The result also holds with unequal numbers of scans; participants with one scan are left
    out."""
    rng = np.random.default_rng(4)
    scans = draw(rng, n=9, k=4)
    for row, missing in enumerate((0, 1, 2, 2, 0, 1, 0, 3, 4)):
        scans[row, rng.permutation(4)[:missing]] = np.nan
    one = repeatability(scans)
    groups = [row[np.isfinite(row)] for row in scans[:7]]
    f = stats.f_oneway(*groups).statistic
    sizes = np.array([len(group) for group in groups])
    k = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / 6
    assert one.icc == pytest.approx((f - 1) / (f + k - 1))
    assert (one.n_participants, one.n_scans) == (7, sizes.sum())


def test_equal_scans_agree_perfectly():
    one = repeatability(np.repeat([[0.5], [0.6], [0.7]], 2, axis=1))
    assert (one.wsd, one.rc, one.wcv, one.icc) == (0, 0, 0, 1)


@pytest.mark.parametrize("scans", [[[1, 2], [1, 2]], [[1, np.nan]] * 5, np.zeros((0, 2))])
def test_too_few_participants_have_no_repeatability(scans):
    assert repeatability(np.array(scans, float).reshape(-1, 2)) is None


def test_the_first_scan_is_subtracted_from_the_last_scan():
    scans = np.array([[1.0, 2, 4], [np.nan, 1, 3], [5, 2, np.nan]])
    np.testing.assert_array_equal(last_minus_first(scans), [3, 2, -3])


@pytest.mark.filterwarnings("error")
def test_degenerate_values_are_missing():
    one = repeatability(np.array([[-0.1, 0.1], [0.5, 0.6], [0.7, 0.6]]))
    assert np.isnan([one.wcv, one.wcv_ci_low, one.wcv_ci_high]).all()
    assert np.isfinite([one.wsd, one.icc]).all()
    for value in (0.5, 0.1, 0.0):
        one = repeatability(np.full((7, 2), value))
        assert one.wsd == 0
        assert np.isnan(one.wcv) == (value == 0)
        assert np.isnan([one.icc, one.icc_ci_low, one.icc_ci_high]).all()


def rows(entries):
    return pd.DataFrame(entries, columns=["participant_id", "session_id", "position", "median"])


def test_runs_of_a_session_are_averaged_if_there_are_sessions():
    entries = [
        (f"sub-{n}", f"ses-{s}", 10 * s + r, 10 * n + s + r)
        for n in (1, 2, 3) for s in (1, 2) for r in (1, 3)
    ]  # fmt: skip
    table = scan_table(rows(entries))
    assert table.columns.name == "sessions"
    np.testing.assert_array_equal(table, [[13, 14], [23, 24], [33, 34]])


def test_sessions_are_sorted_by_position_and_not_by_label():
    entries = [("sub-1", "ses-post", 1, 4.0), ("sub-1", "ses-pre", 0, 3.0)]
    entries += [("sub-2", "ses-10", 3, 7.0), ("sub-2", "ses-2", 2, 5.0)]
    np.testing.assert_array_equal(last_minus_first(scan_table(rows(entries)).to_numpy()), [1, 2])


def test_runs_are_compared_without_sessions():
    entries = [(f"sub-{n}", None, r, 10 * n + r) for r in (2, 1) for n in (1, 2)]
    table = scan_table(rows(entries))
    assert table.columns.name == "runs"
    np.testing.assert_array_equal(table, [[11, 12], [21, 22]])


def test_table_has_a_row_for_each_region_with_enough_participants():
    rng = np.random.default_rng(5)
    entries = []
    for region, people in (("WM", 5), ("GM", 2)):
        values = draw(rng, n=people)
        entries += [
            (f"sub-{n}", f"ses-{s}", s, values[n, s], region)
            for n in range(people) for s in range(2)
        ]  # fmt: skip
    columns = ["participant_id", "session_id", "position", "median", "region"]
    table = repeatability_table(pd.DataFrame(entries, columns=columns), ["region"])
    assert table["region"].tolist() == ["WM"]
    assert list(table) == ["region", "repeated", *Repeatability.__dataclass_fields__]
    assert table["repeated"].tolist() == ["sessions"]


def test_the_table_is_empty_without_repeated_scans():
    entries = [(f"sub-{n}", None, 0, 0.5) for n in range(9)]
    table = repeatability_table(rows(entries), ["participant_id"])
    assert table.empty
    assert "icc" in table
