"""The endless sequence: every epoch holds every number once, and any stretch is known without what comes before."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from augment.base.shuffling import Shuffled


@given(count=st.integers(1, 9), start=st.integers(0, 40), length=st.integers(0, 30), seed=st.integers(0, 5))
def test_any_stretch_is_that_of_the_whole_sequence(count, start, length, seed):
    epochs = [np.random.default_rng([seed, epoch]).permutation(count) for epoch in range(start + length + 1)]
    expected = np.concatenate(epochs)[start : start + length]
    np.testing.assert_array_equal(Shuffled(count, seed).take(start, length), expected)


def test_seeds_and_epochs_differ_and_each_has_every_number():
    shuffled = Shuffled(50, 1, 2)
    first, second = shuffled.epoch(0), shuffled.epoch(1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert not (first == second).all() and not (first == Shuffled(50, 1, 3).epoch(0)).all()
