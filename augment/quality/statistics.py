"""Values with their 95 % intervals: by bootstrap over pairs for means, by jackknife over groups for distances.

A metric makes a :data:`Sample` of an arm's images. A sample has a value with its interval; the difference of two
samples is a sample of the paired difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
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

    ``statistic`` takes (R, N, ...) and returns (R,). Single and infinite values have no interval.
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
    """The mean of values (N,) without NaN; NaN if there are none."""
    values = values[~np.isnan(values)]
    return bootstrap(lambda drawn: drawn.mean(axis=1), values) if len(values) else Figure(np.nan)


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


def students(values: np.ndarray) -> Figure:
    """Mean of values (N,) with Student's interval; fewer than two values have no interval."""
    if len(values) < 2:
        return Figure(float(values.mean()) if len(values) else np.nan)
    value = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return Figure(value, value - half, value + half)


@dataclass(frozen=True)
class PerPair:
    """A value of each pair (N,), NaN where undefined; its figure is their mean, or its ratio to that of ``over``."""

    values: np.ndarray
    over: np.ndarray | None = None

    def figure(self) -> Figure:
        """Bootstrapped over pairs."""
        return mean(self.values) if self.over is None else ratio(self.values, self.over)

    def less(self, other: "PerPair") -> "PerPair":
        """Pair by pair; both are over the same."""
        with np.errstate(invalid="ignore"):  # two infinite values have no difference
            return PerPair(self.values - other.values, self.over)


@dataclass(frozen=True)
class Jackknife:
    """The value of all, and those ``without`` each of G groups; without any there is no interval."""

    value: float
    without: np.ndarray

    def figure(self) -> Figure:
        """With Tukey's interval, whose error is that of a delete-a-group jackknife."""
        groups = len(self.without)
        if not groups:
            return Figure(self.value)
        error = np.sqrt((groups - 1) / groups * ((self.without - self.without.mean()) ** 2).sum())
        half = float(stats.t.ppf(0.975, groups - 1) * error)
        return Figure(self.value, self.value - half, self.value + half)

    def less(self, other: "Jackknife") -> "Jackknife":
        """Group by group, which hold the same pairs."""
        return Jackknife(self.value - other.value, self.without - other.without)


@dataclass(frozen=True)
class Parts:
    """A value of each of some equal parts (S,); its figure is their mean."""

    values: np.ndarray

    def figure(self) -> Figure:
        """With Student's interval over the parts."""
        return students(self.values)

    def less(self, other: "Parts") -> "Parts":
        """Part by part."""
        return Parts(self.values - other.values)


Sample = PerPair | Jackknife | Parts
