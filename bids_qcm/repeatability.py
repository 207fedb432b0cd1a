"""Repeatability of a value that was measured several times in each participant."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

LEAST_PARTICIPANTS = 3
"""Minimum number of participants with at least two scans."""

COVERAGE = 0.95
"""Coverage of the confidence intervals and the limits of agreement."""

# Differences below this fraction of the largest value may be rounding errors.
_ROUNDING = 1e-12

_Z = float(stats.norm.ppf((1 + COVERAGE) / 2))


@dataclass(frozen=True)
class Repeatability:
    """Agreement between repeated scans of the same participants.

    Attributes
    ----------
    n_participants, n_scans : int
        Number of participants with at least two scans, and number of their scans.
    mean : float
        Mean over the participants; the scans of a participant are averaged first.
    wsd, wsd_ci_low, wsd_ci_high : float
        Within-subject standard deviation, and its confidence interval.
    rc, rc_ci_low, rc_ci_high : float
        Repeatability coefficient: two scans of a participant differ by less than this value in 95 %
        of cases, if nothing has changed.
    wcv, wcv_ci_low, wcv_ci_high : float
        Within-subject coefficient of variation: root mean square of the standard deviation divided
        by the mean; NaN if a mean is 0.
    icc, icc_ci_low, icc_ci_high : float
        Intraclass correlation ICC(1,1): the fraction of the variance that is between participants;
        NaN without any variance.
    bias, bias_ci_low, bias_ci_high : float
        Mean difference between the last and the first scan of a participant (last minus first).
    loa_low, loa_high, loa_margin : float
        Limits of agreement for this difference, and half the width of their confidence intervals.
    """

    n_participants: int
    n_scans: int
    mean: float
    wsd: float
    wsd_ci_low: float
    wsd_ci_high: float
    rc: float
    rc_ci_low: float
    rc_ci_high: float
    wcv: float
    wcv_ci_low: float
    wcv_ci_high: float
    icc: float
    icc_ci_low: float
    icc_ci_high: float
    bias: float
    bias_ci_low: float
    bias_ci_high: float
    loa_low: float
    loa_high: float
    loa_margin: float


def repeatability(scans: NDArray[np.floating]) -> Repeatability | None:
    """Compute the repeatability from a one-way analysis of variance.

    Parameters
    ----------
    scans : ndarray of float, shape (N, K)
        Value of each participant in each scan, in the order of time; NaN where a scan is missing.

    Returns
    -------
    Repeatability or None
        None if fewer than `LEAST_PARTICIPANTS` participants have at least two scans.

    Notes
    -----
    The within-subject standard deviation is the root of the mean square within participants, and
    its interval follows from the chi-squared distribution [1]_. The intraclass correlation is
    ICC(1,1), and its interval follows from the F distribution [2]_. With unequal numbers of scans,
    the number of scans in both formulas is the effective number of the analysis of variance, and
    the interval is approximate. The interval of the coefficient of variation is also approximate.
    Limits of agreement and their intervals are computed as in [3]_.

    References
    ----------
    .. [1] Raunig DL, et al. Quantitative imaging biomarkers: a review of statistical methods for
       technical performance assessment. Stat Methods Med Res 2015. doi:10.1177/0962280214537344
    .. [2] Shrout PE, Fleiss JL. Intraclass correlations: uses in assessing rater reliability.
       Psychol Bull 1979. doi:10.1037/0033-2909.86.2.420
    .. [3] Bland JM, Altman DG. Statistical methods for assessing agreement between two methods of
       clinical measurement. Lancet 1986. doi:10.1016/S0140-6736(86)90837-8
    """
    values = np.asarray(scans, dtype=np.float64)
    values = values[np.isfinite(values).sum(axis=1) > 1]
    if len(values) < LEAST_PARTICIPANTS:
        return None
    counts = np.isfinite(values).sum(axis=1)
    means, variances = np.nanmean(values, axis=1), np.nanvar(values, axis=1, ddof=1)
    within = counts - 1
    df = int(within.sum())
    wsd = float(np.sqrt(within @ variances / df))
    # confidence limits of the ratio of the true to the estimated standard deviation
    low, high = np.sqrt(df / stats.chi2.ppf([(1 + COVERAGE) / 2, (1 - COVERAGE) / 2], df)).tolist()
    # the coefficient of variation is undefined if the mean is 0
    relative = np.divide(variances, means**2, out=np.full_like(means, np.nan), where=means != 0)
    wcv = float(np.sqrt(within @ relative / df))
    return Repeatability(
        n_participants=len(values),
        n_scans=int(counts.sum()),
        mean=float(means.mean()),
        **_scaled_interval("wsd", wsd, low, high),
        **_scaled_interval("rc", _Z * np.sqrt(2) * wsd, low, high),
        **_scaled_interval("wcv", wcv, low, high),
        **_correlation(means, counts, wsd**2, df),
        **_agreement(last_minus_first(values)),
    )


def last_minus_first(scans: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the difference between the last and the first scan of each participant.

    Scans whose value is not finite are skipped; each participant needs a finite value.
    """
    rows = np.arange(len(scans))
    finite = np.isfinite(scans)
    last = scans.shape[1] - 1 - finite[:, ::-1].argmax(axis=1)
    return np.asarray(scans[rows, last] - scans[rows, finite.argmax(axis=1)], dtype=np.float64)


def repeatability_table(
    rows: pd.DataFrame, keys: Sequence[str], value: str = "median"
) -> pd.DataFrame:
    """Compute the repeatability of each region.

    Parameters
    ----------
    rows : DataFrame
        One row for each scan and region, with the columns `keys`, `value`, ``participant_id``,
        ``session_id`` and ``position``, which is larger for a later scan of a participant.
    keys : sequence of str
        Columns that identify a region in comparable maps.
    value : str
        Column with the value.

    Returns
    -------
    DataFrame
        One row for each region with enough participants: `keys`, ``repeated`` (``sessions`` or
        ``runs``), and the attributes of `Repeatability`.
    """
    found = []
    for names, region in rows.groupby(list(keys), sort=False, dropna=False):
        table = scan_table(region, value)
        one = repeatability(table.to_numpy())
        if one is not None:
            found.append({**dict(zip(keys, names, strict=True)),
                          "repeated": table.columns.name, **asdict(one)})  # fmt: skip
    columns = [*keys, "repeated", *Repeatability.__dataclass_fields__]
    return pd.DataFrame(found, columns=columns)


def scan_table(region: pd.DataFrame, value: str = "median") -> pd.DataFrame:
    """Arrange the values of a region in a table of participants and scans.

    If a participant has several sessions, sessions are compared, and the runs of a session are
    averaged. Otherwise, runs are compared.

    Parameters
    ----------
    region : DataFrame
        One row for each scan, with the columns `value`, ``participant_id``, ``session_id`` and
        ``position``, which is larger for a later scan of a participant.
    value : str
        Column with the value.

    Returns
    -------
    DataFrame
        One row for each participant, and one column for each session or run of the participant, in
        their order. The name of the columns is ``sessions`` or ``runs``.
    """
    sessions = region["session_id"].fillna("n/a")
    by_session = (sessions.groupby(region["participant_id"]).nunique() > 1).any()
    scans = region
    if by_session:
        of_sessions = region.groupby(["participant_id", "session_id"], dropna=False)
        scans = of_sessions.agg({value: "mean", "position": "min"}).reset_index()
    scans = scans.sort_values("position")
    name = "sessions" if by_session else "runs"
    scans = scans.assign(**{name: scans.groupby("participant_id").cumcount()})
    return scans.pivot(index="participant_id", columns=name, values=value)


def _scaled_interval(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """Return a value and its interval, whose ends are multiples of the value."""
    return {name: value, f"{name}_ci_low": low * value, f"{name}_ci_high": high * value}


def _correlation(
    means: NDArray[np.float64], counts: NDArray[np.integer], within: float, df_within: int
) -> dict[str, float]:
    """Return ICC(1,1) and its interval from the mean square within participants."""
    total, df = counts.sum(), len(means) - 1
    deviations = means - counts @ means / total
    if np.abs(deviations).max() <= _ROUNDING * np.abs(means).max():
        deviations = np.zeros_like(means)
    between = float(counts @ deviations**2 / df)
    k = float((total - (counts**2).sum() / total) / df)
    # without noise, all variance is between participants; without any variance, the ratio is
    # undefined
    ratio = between / within if within > 0 else (np.inf if between > 0 else np.nan)
    quantile = (1 + COVERAGE) / 2
    ratios = (
        ratio,
        ratio / stats.f.ppf(quantile, df, df_within),
        ratio * stats.f.ppf(quantile, df_within, df),
    )
    icc, low, high = (1.0 if np.isinf(f) else float((f - 1) / (f + k - 1)) for f in ratios)
    return {"icc": icc, "icc_ci_low": low, "icc_ci_high": high}


def _agreement(difference: NDArray[np.float64]) -> dict[str, float]:
    """Return the bias, the limits of agreement, and their intervals."""
    n, bias, sd = len(difference), float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf((1 + COVERAGE) / 2, n - 1))
    margin = t * sd / np.sqrt(n)
    return {
        "bias": bias,
        "bias_ci_low": bias - margin,
        "bias_ci_high": bias + margin,
        "loa_low": bias - _Z * sd,
        "loa_high": bias + _Z * sd,
        "loa_margin": t * sd * float(np.sqrt(1 / n + _Z**2 / (2 * (n - 1)))),
    }
