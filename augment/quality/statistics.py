"""Values with their 95 % intervals: by bootstrap over people for means, by jackknife over groups for distances.

A metric makes a :data:`Sample` of an arm's images. A sample has a value with its interval; the difference of two
samples is a sample of the paired difference.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from augment.base.intervals import ValueWithInterval, mean_over, ratio_over, t_interval


@dataclass(frozen=True)
class PerPair:
    """A value of each pair (N,), NaN where undefined; its figure is their mean, or its ratio to that of ``over``.

    ``people``: who is in each pair.
    """

    values: np.ndarray
    people: np.ndarray
    over: np.ndarray | None = None

    def estimate(self) -> ValueWithInterval:
        """Bootstrapped over people."""
        if self.over is None:
            return mean_over(self.people, self.values)
        return ratio_over(self.people, self.values, self.over)

    def minus(self, other: "PerPair") -> "PerPair":
        """Pair by pair; both are over the same."""
        with np.errstate(invalid="ignore"):  # two infinite values have no difference
            return PerPair(self.values - other.values, self.people, self.over)


@dataclass(frozen=True)
class Jackknife:
    """The value of all, and those ``without`` each of G groups; without any there is no interval."""

    value: float
    without: np.ndarray

    def estimate(self) -> ValueWithInterval:
        """With Tukey's interval, whose error is that of a delete-a-group jackknife."""
        groups = len(self.without)
        if not groups:
            return ValueWithInterval(self.value)
        error = np.sqrt((groups - 1) / groups * ((self.without - self.without.mean()) ** 2).sum())
        half = float(stats.t.ppf(0.975, groups - 1) * error)
        return ValueWithInterval(self.value, self.value - half, self.value + half)

    def minus(self, other: "Jackknife") -> "Jackknife":
        """Group by group, which hold the same people."""
        return Jackknife(self.value - other.value, self.without - other.without)


@dataclass(frozen=True)
class Parts:
    """A value of each of some equal parts (S,); its figure is their mean."""

    values: np.ndarray

    def estimate(self) -> ValueWithInterval:
        """With Student's interval over the parts."""
        return t_interval(self.values)

    def minus(self, other: "Parts") -> "Parts":
        """Part by part."""
        return Parts(self.values - other.values)


Sample = PerPair | Jackknife | Parts
