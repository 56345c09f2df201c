"""95 % intervals: Student's, and the bootstrap over clusters (Efron 1979).

A person's values are correlated, so people are resampled, not values.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 2000
_AT_ONCE = 50  # resamples: some MB of indices


class ValueWithInterval(NamedTuple):
    """A value and its 95 % interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


def t_interval(values: np.ndarray) -> ValueWithInterval:
    """The mean of independent values (N,), with Student's interval where there are two or more."""
    if len(values) < 2:
        return ValueWithInterval(float(values.mean()) if len(values) else math.nan)
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return ValueWithInterval(mean, mean - half, mean + half)


def mean_over(clusters: np.ndarray, values: np.ndarray) -> ValueWithInterval:
    """The mean of values (N,) without NaN, with the percentile interval over resamples of the clusters (N,)."""
    return ratio_over(clusters, values, np.where(np.isnan(values), np.nan, 1.0))


def ratio_over(clusters: np.ndarray, values: np.ndarray, others: np.ndarray, seed: int = 0) -> ValueWithInterval:
    """The sum of values (N,) over that of others (N,), where both are numbers; resampled together, by clusters (N,).

    NaN where the others' sum is 0. A single cluster and an infinite value have no interval, nor has a value of which
    more than one resample in twenty has no others; fewer are left out.
    """
    both = np.stack([values, others], axis=1)
    good = ~np.isnan(both).any(axis=1)
    names, places = np.unique(clusters[good], return_inverse=True)
    sums = np.zeros((len(names), 2))
    np.add.at(sums, places, both[good])
    ours, theirs = sums.sum(axis=0)
    value = float(ours / theirs) if theirs else math.nan
    if len(names) < 2 or not math.isfinite(value):
        return ValueWithInterval(value)
    random = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES // _AT_ONCE):
        drawn = sums[random.integers(len(names), size=(_AT_ONCE, len(names)))].sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(drawn[:, 0] / drawn[:, 1])
    ratios = np.concatenate(found)
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) < 0.95 * RESAMPLES:
        return ValueWithInterval(value)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return ValueWithInterval(value, float(low), float(high))


def standard_error(clusters: np.ndarray, values: np.ndarray) -> float:
    """Of the mean of values (N,), robust to correlation within clusters (N,); NaN for a single cluster."""
    names, places = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return math.nan
    residuals = np.bincount(places, values - values.mean())
    return math.sqrt(len(names) / (len(names) - 1) * (residuals**2).sum()) / len(values)
