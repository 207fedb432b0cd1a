import numpy as np
import pandas as pd
import pytest

from bids_qcm.checks.literature import literature_conductivity
from bids_qcm.reports.group import LEAST_VALUES, OUTLIER_SCORE, modified_z_scores
from bids_qcm.reports.strips import draw_strips


def test_scores_are_distances_in_robust_standard_deviations():
    values = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 100.0, np.nan])
    scores = modified_z_scores(values)
    # The median is 3.5, and the median absolute deviation is 1.5.
    np.testing.assert_allclose(scores[:6], 0.6745 * (values[:6] - 3.5) / 1.5, rtol=1e-4)
    assert np.isnan(scores[6])
    assert (scores.abs() > OUTLIER_SCORE).tolist() == [False] * 5 + [True, False]


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0, 99.0], [2.0, 2.0, 2.0, 2.0, 9.0]])
def test_few_or_equal_values_have_no_score(values):
    assert modified_z_scores(pd.Series(values)).isna().all()
    assert LEAST_VALUES == 5


def test_normal_values_are_hardly_ever_outliers():
    values = pd.Series(np.random.default_rng(0).normal(0.34, 0.05, 10_000))
    scores = modified_z_scores(values)
    assert scores.std() == pytest.approx(1, abs=0.05)
    assert (scores.abs() > OUTLIER_SCORE).mean() < 0.002


@pytest.mark.parametrize(
    ("megahertz", "expected"), [(127.74, (0.342, 0.587, 2.14)), (63.87, (0.291, 0.511, 2.066))]
)
def test_literature_at_two_field_strengths(megahertz, expected):
    names = ("White Matter", "Gray Matter", "Cerebrospinal Fluid")
    found = literature_conductivity(1e6 * megahertz, names)
    assert [found[name] for name in names] == pytest.approx(expected, abs=0.004)


def points(values, outliers=()):
    return [
        {"value": value, "name": f"sub-{n}", "link": "x", "outlier": n in outliers}
        for n, value in enumerate(values)
    ]


def test_points_are_placed_by_their_values():
    plot = draw_strips({"one": points([0.3, 0.4]), "two": points([0.5])}, [0.34])
    scale = {float(tick["text"]): tick["x"] for tick in plot.ticks}
    for row, values in zip(plot.rows, ([0.3, 0.4], [0.5]), strict=True):
        for point, value in zip(row["points"], values, strict=True):
            expected = np.interp(value, list(scale), list(scale.values()))
            assert point["x"] == pytest.approx(expected, abs=0.1)
            assert abs(point["y"] - row["y"]) < 20
            assert plot.left <= point["x"] <= plot.right
    assert plot.rows[0]["median"] == pytest.approx(
        np.mean([p["x"] for p in plot.rows[0]["points"]])
    )


def test_an_outlier_does_not_stretch_the_scale():
    plot = draw_strips({"one": points([0.3, 0.32, 0.34, 50.0, -9.0], outliers=(3, 4))}, [])
    assert float(plot.ticks[-1]["text"]) < 0.5
    high, low = plot.rows[0]["points"][3:]
    assert (high["x"], high["beyond"], low["x"], low["beyond"]) == (plot.right, 1, plot.left, -1)
    assert (high["anchor"], low["anchor"]) == ("end", "start")


def test_equal_values_have_a_scale():
    plot = draw_strips({"one": points([0.5, 0.5])}, [])
    assert len(plot.ticks) > 1
    assert plot.left < plot.rows[0]["points"][0]["x"] < plot.right
