"""Values with their 95 % intervals: bootstrapped over pairs for means, by a jackknife over groups for distances."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 1000
_AT_ONCE = 50  # resamples: some MB of indices


class Figure(NamedTuple):
    """A value and its interval; NaN where there is none."""

    value: float
    low: float = np.nan
    high: float = np.nan


def bootstrap(statistic: Callable[[np.ndarray], np.ndarray], values: np.ndarray, seed: int = 0) -> Figure:
    """A statistic of ``values`` (N, ...) with the percentile interval over 1,000 resamples of the N (Efron 1979).

    ``statistic`` takes (R, N, ...) and returns (R,). A single value has no interval, an infinite one neither.
    """
    value = float(statistic(values[None])[0])
    if len(values) < 2 or not np.isfinite(value):
        return Figure(value)
    random = np.random.default_rng(seed)
    found = [statistic(values[random.integers(0, len(values), (_AT_ONCE, len(values)))])
             for _ in range(RESAMPLES // _AT_ONCE)]  # fmt: skip
    low, high = np.percentile(np.concatenate(found), [2.5, 97.5])
    return Figure(value, float(low), float(high))


def mean(values: np.ndarray) -> Figure:
    """Of values (N,); those that are NaN do not count. Without any the value is NaN."""
    values = values[~np.isnan(values)]
    return bootstrap(lambda drawn: drawn.mean(axis=1), values) if len(values) else Figure(np.nan)


def difference(ours: np.ndarray, others: np.ndarray) -> Figure:
    """Mean of ours less others, value by value: both (N,) of the same pairs."""
    return mean(ours - others)


def ratio(ours: np.ndarray, others: np.ndarray) -> Figure:
    """Mean of ours over the mean of others, (N,) each; both are resampled together. NaN where others' mean is 0."""
    both = np.stack([ours, others], axis=1)
    both = both[~np.isnan(both).any(axis=1)]
    if not len(both) or not both[:, 1].any():
        return Figure(np.nan)

    def of(drawn: np.ndarray) -> np.ndarray:
        means = drawn.mean(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return means[:, 0] / means[:, 1]

    return bootstrap(of, both)


def jackknife(value: float, without: np.ndarray) -> Figure:
    """Student's interval from the values ``without`` each of G groups (Tukey's delete-a-group jackknife)."""
    groups = len(without)
    error = np.sqrt((groups - 1) / groups * ((without - without.mean()) ** 2).sum())
    half = float(stats.t.ppf(0.975, groups - 1) * error)
    return Figure(value, value - half, value + half)
