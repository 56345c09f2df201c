"""Ranking against hand-made lists, brute force and torchreid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import augment.base.torchvision_cpu  # noqa: F401
from augment.base.errors import AugmentError
from augment.retrieval.evaluation import rank


def test_by_hand():
    # The list of the only query: wrong, right, (same camera: out), (junk: out), distractor, right.
    pids, camids = [2, 1, 1, -1, 0, 1], [1, 2, 1, 2, 2, 3]
    result = rank(np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]), [1], pids, [1], camids)
    assert result.cmc == {1: 0.0, 5: 1.0, 10: 1.0, 20: 1.0}
    assert result.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)
    # before the first hit 0 of 1, before the second 1 of 3
    assert result.mAP_trapezoid == pytest.approx(((1 / 2 + 0 / 1) / 2 + (2 / 4 + 1 / 3) / 2) / 2)
    assert result.mINP == pytest.approx(2 / 4)
    assert result.queries == 1


def test_figures_of_each_query_stand_beside_their_means():
    # Of the second query nobody is in the gallery; the third finds its person at places 2 and 3.
    distances = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.2, 0.3, 0.1]])
    result = rank(distances, [1, 7, 1], [1, 1, 2], [1, 1, 1], [2, 3, 2])
    np.testing.assert_allclose(result.average_precision, [1, np.nan, (1 / 2 + 2 / 3) / 2])
    np.testing.assert_array_equal(result.first_hit, [1, np.nan, 2])


def test_an_image_taken_out_for_a_query_counts_for_the_others():
    distances = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    result = rank(distances, [1, 1], [1, 2, 1], [1, 1], [2, 2, 3], not_for=[0, 1])
    np.testing.assert_array_equal(result.first_hit, [2, 1])
    # A place counts in the gallery as given, junk included.
    result = rank(distances, [1, 1], [-1, 1, 1], [1, 1], [2, 2, 3], not_for=[1, 2])
    np.testing.assert_allclose(result.average_precision, [1, 1])


def test_a_perfect_list_scores_one_in_every_figure():
    result = rank(np.array([[0.0, 0.1, 0.9]]), [1], [1, 1, 2], [1], [2, 3, 2])
    assert set(result.as_metrics().values()) == {1.0}


def test_queries_without_a_correct_match_are_left_out():
    distances = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    result = rank(distances, [7, 2, 1], [1, 2], [1, 2, 1], [2, 2])  # unknown person; only the same camera; right
    assert result.queries == 1
    assert result.cmc[1] == 0.0 and result.mAP == 0.5


def test_no_valid_query_is_a_clear_error():
    with pytest.raises(AugmentError, match="No query has a correct match"):
        rank(np.zeros((1, 2)), [1], [2, 1], [1], [1, 1])


def test_wrong_shapes_and_nan_are_refused():
    with pytest.raises(ValueError, match=r"distances \(2, 2\) do not fit 1 queries, 2 gallery images"):
        rank(np.zeros((2, 2)), [1], [1, 2], [1], [1, 1])
    with pytest.raises(ValueError, match="NaN"):
        rank(np.array([[np.nan, 1.0]]), [1], [1, 2], [1], [2, 2])


def brute_force(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    """The protocol word by word: the data set's own evaluation walks down each list like this."""
    cmc, means, areas, inps = [], [], [], []
    for q in range(len(query_pids)):
        listed = [
            gallery_pids[g] == query_pids[q]
            for g in sorted(range(len(gallery_pids)), key=lambda g: distances[q, g])
            if gallery_pids[g] != -1 and not (gallery_pids[g] == query_pids[q] and gallery_camids[g] == query_camids[q])
        ]
        total = sum(listed)
        if not total:
            continue
        found, old_recall, old_precision, area, precisions = 0, 0.0, 1.0, 0.0, []
        for place, right in enumerate(listed, 1):
            found += right
            recall, precision = found / total, found / place
            area += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
            if right:
                precisions.append(precision)
                last = place
        cmc.append([any(listed[:k]) for k in (1, 5, 10, 20)])
        means.append(np.mean(precisions))
        areas.append(area)
        inps.append(total / last)
    return [*np.mean(cmc, axis=0), np.mean(means), np.mean(areas), np.mean(inps)] if cmc else None


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 40), st.booleans())
def test_equals_brute_force_also_with_ties(seed, queries, gallery, ties):
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 4, (queries, gallery)) / 4 if ties else rng.random((queries, gallery))
    args = (rng.integers(1, 5, queries), rng.integers(-1, 5, gallery))
    args = (*args, rng.integers(1, 4, queries), rng.integers(1, 4, gallery))
    expected = brute_force(distances, *args)
    if expected is None:
        with pytest.raises(AugmentError):
            rank(distances, *args)
    else:
        assert list(rank(distances, *args).as_metrics().values()) == pytest.approx(expected, abs=1e-12)


def test_equals_torchreid_on_more_than_one_chunk():
    import torchreid

    rng = np.random.default_rng(0)
    args = (rng.integers(0, 40, 300), rng.integers(0, 40, 900), rng.integers(0, 6, 300), rng.integers(0, 6, 900))
    distances = rng.random((300, 900)).astype(np.float32)
    cmc, mean_precision = torchreid.metrics.evaluate_rank(distances, *args, use_cython=False)
    ours = rank(distances, *args)
    assert ours.mAP == pytest.approx(mean_precision, abs=1e-9)
    assert list(ours.cmc.values()) == pytest.approx(cmc[[0, 4, 9, 19]], abs=1e-6)
