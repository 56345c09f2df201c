"""Differences and ratios with their bootstrap intervals; the jackknife."""

import numpy as np
import pytest

from augment.quality.statistics import Jackknife, Parts, PerPair, ValueWithInterval


def test_pairing_makes_the_interval_of_a_difference_narrow():
    common = np.random.default_rng(0).normal(0, 5, 500)
    people = np.arange(500)
    paired = PerPair(common + 1, people).minus(PerPair(common, people)).estimate()
    assert paired.value == pytest.approx(1) and paired.high - paired.low == pytest.approx(0, abs=1e-9)


def test_jackknife_of_a_mean_is_students_interval():
    # Leaving one of ten values out of their mean: the classical t interval with 9 degrees of freedom (t = 2.2622).
    values = np.random.default_rng(0).normal(size=10)
    without = np.array([np.delete(values, k).mean() for k in range(10)])
    figure = Jackknife(values.mean(), without).estimate()
    assert figure.high - figure.value == pytest.approx(2.2622 * values.std(ddof=1) / 10**0.5, rel=1e-4)


def test_difference_of_two_ratios_over_the_same_is_the_ratio_of_the_difference():
    random = np.random.default_rng(0)
    ours, others, sources = random.uniform(0, 1, (3, 40))
    sources[3] = np.nan
    people = np.arange(40)
    figure = PerPair(ours, people, sources).minus(PerPair(others, people, sources)).estimate()
    good = ~np.isnan(sources)
    assert figure.value == pytest.approx((ours[good].sum() - others[good].sum()) / sources[good].sum())
    assert figure.low < figure.value < figure.high
    infinite = (PerPair(np.array([np.inf, *values]), people[:3]) for values in ([1.0, 2.0], [0.5, 1.5]))
    same = next(infinite).minus(next(infinite)).estimate()
    assert same == ValueWithInterval(0.5, 0.5, 0.5)  # two infinite values (PSNR of equal images) have no difference


def test_differences_of_jackknives_and_of_parts_are_taken_group_by_group():
    without = np.random.default_rng(0).normal(size=10)
    shifted = Jackknife(7.0, without + 2).minus(Jackknife(5.0, without)).estimate()
    assert shifted.value == 2 and shifted.high - shifted.low == pytest.approx(0, abs=1e-12)
    assert np.isnan(Jackknife(1.0, np.array([])).estimate().low)
    parts = Parts(np.array([1.0, 2.0, 6.0]))
    # mean 3, deviation sqrt(7), t(.975, 2) = 4.3027
    assert parts.estimate() == pytest.approx((3, 3 - 4.3027 * (7 / 3) ** 0.5, 3 + 4.3027 * (7 / 3) ** 0.5), rel=1e-4)
    assert parts.minus(parts).estimate() == ValueWithInterval(0, 0, 0)
    assert np.isnan(Parts(np.array([])).estimate().value)
