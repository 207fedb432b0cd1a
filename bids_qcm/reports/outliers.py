"""Outliers of a group from a robust score, and the number of outliers expected by chance."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import median_abs_deviation, norm

from bids_qcm.bids.tables import Dictionary

OUTLIER_SCORE = 3.5
"""Maximum absolute modified z-score that is not an outlier (Iglewicz and Hoaglin 1993)."""

LEAST_VALUES = 10
"""Minimum number of values for determining outliers.

Of five normal values, 5 % would be outliers, because their median absolute deviation is uncertain.
"""

OUTLIER_COLUMNS: Dictionary = {
    "outlier_score": {
        "Description": "Modified z-score of the median, compared with all maps of the same method "
        "and kind of acquisition in this tissue or region: 0.6745 times the difference from the "
        "group median, divided by the median absolute deviation; n/a for fewer than "
        f"{LEAST_VALUES} values, or if most values are equal"
    },
    "outlier": {
        "Description": f"Whether the absolute outlier_score exceeds {OUTLIER_SCORE:g} "
        "(Iglewicz and Hoaglin 1993)"
    },
}
"""Columns that :func:`with_outliers` adds."""

# Simulated fraction of outliers among n normal values. With increasing n, it approaches the
# fraction for a known standard deviation.
_NORMAL_SHARES = {
    **{10: 0.0167, 15: 0.0108, 20: 0.0066, 30: 0.0038},
    **{50: 0.0021, 100: 0.0011, 200: 0.00077, 500: 0.00058},
}
_KNOWN_DEVIATION = 2 * float(norm.sf(OUTLIER_SCORE))


def modified_z_scores(values: pd.Series) -> pd.Series:
    """Return the modified z-scores of values, a robust measure of their distance from the median.

    Parameters
    ----------
    values : Series of float
        Values; NaN where a value is missing.

    Returns
    -------
    Series of float
        ``0.6745 (x - median) / MAD``, where MAD is the median absolute deviation. All scores are
        NaN if there are fewer than `LEAST_VALUES` values, or if MAD is 0.

    References
    ----------
    .. [1] Iglewicz B, Hoaglin DC. How to detect and handle outliers. ASQC Quality Press 1993.
    """
    if values.count() < LEAST_VALUES:
        return pd.Series(np.nan, values.index)
    deviation = float(median_abs_deviation(values, scale="normal", nan_policy="omit"))
    if deviation == 0:
        return pd.Series(np.nan, values.index)
    return (values - values.median()) / deviation


def with_outliers(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return rows with the columns of `OUTLIER_COLUMNS`.

    Parameters
    ----------
    rows : DataFrame
        Rows with the column ``median``.
    keys : sequence of str
        Columns that are equal in the rows that are compared. A row with a missing value in one of
        these columns is not compared.
    """
    scores = rows.groupby(list(keys))["median"].transform(modified_z_scores)
    return rows.assign(outlier_score=scores, outlier=scores.abs() > OUTLIER_SCORE)


def expected_outliers(n: int) -> float:
    """Return the mean number of outliers among n normally distributed values.

    Parameters
    ----------
    n : int
        Number of values; 0 is returned for fewer than `LEAST_VALUES`.
    """
    if n < LEAST_VALUES:
        return 0.0
    sizes, shares = list(_NORMAL_SHARES), list(_NORMAL_SHARES.values())
    excess = np.interp(np.log(n), np.log(sizes), np.array(shares) - _KNOWN_DEVIATION)
    return float(n * (_KNOWN_DEVIATION + excess))
