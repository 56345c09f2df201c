"""Learned distances against pair-by-pair sums and numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.base.errors import AugmentError
from augment.reid.metric_learning import (
    Projection,
    cosine,
    euclidean,
    kissme,
    learn,
    pair_covariances,
    unit_length,
    xqda,
)


def test_pair_covariances_by_hand():
    # person 0 at 0 (camera 1) and 2 (camera 2), person 1 at 5 (camera 1) and 5 (camera 2)
    features = np.array([[0.0], [2.0], [5.0], [5.0]])
    intra, extra = pair_covariances(features, np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2]))
    assert intra == pytest.approx((4 + 0) / 2)  # pairs across cameras: 0-2, 5-5
    assert extra == pytest.approx((25 + 9) / 2)  # 0-5, 2-5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pair_covariances_equal_the_sum_over_pairs(seed):
    rng = np.random.default_rng(seed)
    features, pids, camids = rng.normal(size=(14, 3)), rng.integers(0, 3, 14) * 5, rng.integers(1, 4, 14)
    sums = {True: [], False: []}
    for i in range(14):
        for j in range(i):
            if camids[i] != camids[j]:
                difference = features[i] - features[j]
                sums[bool(pids[i] == pids[j])].append(np.outer(difference, difference))
    if sums[True] and sums[False]:
        intra, extra = pair_covariances(features, pids, camids)
        np.testing.assert_allclose(intra, np.mean(sums[True], axis=0), atol=1e-10)
        np.testing.assert_allclose(extra, np.mean(sums[False], axis=0), atol=1e-10)


def test_one_camera_counts_its_own_pairs():
    intra, extra = pair_covariances(np.array([[0.0], [2.0], [5.0]]), np.array([0, 0, 1]), np.array([1, 1, 1]))
    assert intra == pytest.approx(4) and extra == pytest.approx((25 + 9) / 2)


def test_single_images_are_a_clear_error():
    with pytest.raises(AugmentError, match="several real training images each"):
        pair_covariances(np.eye(3), np.array([0, 1, 2]), np.array([1, 2, 1]))


def one_dimension():
    # as in the first test: intra 2, extra 17
    return np.array([[0.0], [2.0], [5.0], [5.0]]), np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2])


def test_xqda_in_one_dimension():
    learned = xqda(*one_dimension())
    distance = learned.distances(np.array([[1.0]]), np.array([[4.0]]))
    assert distance == pytest.approx(9 * (1 / 2.001 - 1 / 17))  # 0.001 is added to the intra-personal covariance


def test_kissme_in_one_dimension():
    distance = kissme(*one_dimension()).distances(np.array([[1.0]]), np.array([[4.0]]))
    assert distance == pytest.approx(9 * (1 / 2 - 1 / 17), rel=1e-4)


def two_dimensions():
    """The first axis tells people apart, the second is noise twice as wide."""
    rng = np.random.default_rng(0)
    pids, camids = np.repeat(np.arange(60), 4), np.tile([1, 2, 1, 2], 60)
    features = np.stack([pids % 10 + 0.1 * rng.normal(size=240), 6 * rng.normal(size=240)], axis=1)
    return features, pids, camids


def test_xqda_keeps_the_direction_that_tells_people_apart():
    learned = xqda(*two_dimensions())
    direction = learned.basis[:, 0] / np.linalg.norm(learned.basis[:, 0])
    assert abs(direction[0]) > 0.999
    assert learned.basis.shape[1] <= 2


def test_kissme_is_a_metric_that_weighs_noise_least():
    learned = kissme(*two_dimensions())
    assert np.linalg.eigvalsh(learned.metric).min() >= -1e-9
    origin, along, across = np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert learned.distances(origin, along) > 50 * learned.distances(origin, across)


def test_projection_is_the_quadratic_form():
    rng = np.random.default_rng(1)
    basis, metric = rng.normal(size=(4, 2)), rng.normal(size=(2, 2))
    metric = metric + metric.T
    x, y = rng.normal(size=(3, 4)), rng.normal(size=(5, 4))
    expected = [[(a - b) @ basis @ metric @ basis.T @ (a - b) for b in y] for a in x]
    np.testing.assert_allclose(Projection(basis, metric).distances(x, y), expected, atol=1e-10)


def test_fixed_distances_by_hand():
    x, y = np.array([[3.0, 4.0]]), np.array([[0.0, 2.0], [-4.0, 3.0]])
    # of unit length: (.6, .8) to (0, 1) and to (-.8, .6)
    np.testing.assert_allclose(euclidean(x, y), [[0.36 + 0.04, 1.96 + 0.04]])
    np.testing.assert_allclose(cosine(x, y), [[1 - 8 / 10, 1.0]])
    np.testing.assert_allclose(unit_length(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])


@pytest.mark.parametrize("name", ["xqda", "kissme"])
@pytest.mark.parametrize("value", [0.5, 0.0, np.nan, np.inf])
def test_features_that_decide_nothing_are_told(name, value):
    """All alike: the covariances are zero, and have no inverse."""
    pids, camids = np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2])
    with pytest.raises(AugmentError, match=rf"{name}: cannot be learned .* 4 training images \(.*Leave {name} out of"):
        learn(name, np.full((4, 3), value), pids, camids)
    features = np.random.default_rng(0).normal(size=(4, 3))
    assert np.isfinite(learn(name, features, pids, camids).metric).all()
    with pytest.raises(AugmentError, match="needs people with several real training images each, and several people"):
        learn(name, features, np.zeros(4, int), camids)


def test_more_dimensions_than_images_are_no_hindrance():
    """Covariances of 4 images in 64 dimensions are singular; the ridge makes them invertible."""
    features = unit_length(np.random.default_rng(1).normal(size=(4, 64)))
    for name in ("xqda", "kissme"):
        learned = learn(name, features, np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2]))
        assert np.isfinite(learned.distances(features, features)).all()
