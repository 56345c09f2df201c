"""Means and ratios with intervals over resampled clusters, and the standard error over clusters."""

import itertools

import numpy as np
import pytest

from augment.base.intervals import ValueWithInterval, mean_over, ratio_over, standard_error


def alone(count: int) -> np.ndarray:
    return np.arange(count)


def test_interval_of_a_mean_is_that_of_theory_where_there_are_many():
    values = np.random.default_rng(0).normal(3, 2, 2000)
    figure = mean_over(alone(2000), values)
    half = 1.96 * values.std() / 2000**0.5
    assert figure.value == pytest.approx(values.mean())
    assert figure.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert figure.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert standard_error(alone(2000), values) == pytest.approx(values.std(ddof=1) / 2000**0.5)


def test_the_interval_is_that_of_all_resamples_of_three():
    values = np.array([0.1, 0.2, 0.6])
    every = [np.mean(some) for some in itertools.product(values, repeat=3)]  # 27 equally likely resamples
    # 1/27 of them is .1 and 1/27 is .6, so both percentiles lie on these
    assert mean_over(alone(3), values) == pytest.approx((0.3, min(every), max(every)))


def test_a_person_counts_once_however_many_images_there_are():
    """Two people: the mean is theirs in one of four draws each, between them in two; 2.5 and 97.5 % are the ends."""
    values, people = np.array([1.0, 1.0, 1.0, 4.0]), np.array(["3", "3", "3", "5"])
    assert mean_over(people, values) == ValueWithInterval(1.75, 1, 4)
    many = np.random.default_rng(1).normal(size=400)
    repeated, people = np.repeat(many, 5), np.repeat(np.arange(400), 5)
    _, low, high = mean_over(people, repeated)
    assert (high - low) / 2 == pytest.approx(1.96 * many.std() / 20, rel=0.1)  # as 400 values, not 2,000
    assert standard_error(people, repeated) == pytest.approx(many.std(ddof=1) / 20)


def test_what_is_no_number_does_not_count_and_a_single_cluster_has_no_interval():
    assert mean_over(alone(3), np.array([np.nan, 2.0, 2.0])) == ValueWithInterval(2, 2, 2)
    for people, values in ((alone(2), [np.nan, 2.0]), (np.array([7, 7]), [1.0, 3.0])):
        figure = mean_over(people, np.array(values))
        assert figure.value == 2 and np.isnan(figure.low) and np.isnan(figure.high)
    assert np.isnan(mean_over(alone(1), np.array([np.nan])).value)
    assert np.isinf(mean_over(alone(2), np.array([np.inf, 1.0])).value)
    assert np.isnan(standard_error(np.array([7, 7]), np.array([1.0, 3.0])))


def test_resamples_without_others_are_left_out_where_they_are_few():
    others = np.array([1.0, 1, 1, 0])  # all draws are of the last in 1 of 256
    assert ratio_over(alone(4), others, others) == ValueWithInterval(1, 1, 1)
    mostly = ratio_over(alone(4), np.eye(4)[0], np.eye(4)[0])  # in (3/4)^4, a third, there is nothing to divide by
    assert mostly.value == 1 and np.isnan(mostly.low) and np.isnan(mostly.high)


def test_ratio_of_sums():
    ours, others = np.array([1.0, 0, 1, 0]), np.array([1.0, 1, 1, 1])
    figure = ratio_over(alone(4), ours, others)
    assert figure.value == 0.5 and 0 <= figure.low < 0.5 < figure.high <= 1
    assert ratio_over(alone(4), others, others) == ValueWithInterval(1, 1, 1)
    assert ratio_over(alone(2), np.array([1.0, np.nan]), np.array([2.0, 5])).value == 0.5  # counted where both are
    assert np.isnan(ratio_over(alone(4), ours, others * 0).value)
