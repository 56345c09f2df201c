"""Retrieval accuracy by the protocol of Market-1501 (Zheng et al., ICCV 2015)."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from augment.base.errors import AugmentError
from augment.data.layouts import JUNK

RANKS = (1, 5, 10, 20)
_CHUNK = 256  # queries at a time: 16 MB of distances to Market-1501's gallery


class NoValidQuery(AugmentError):
    """No query has a correct match: the gallery shows no query's person from another camera."""


class Ranking(NamedTuple):
    """Accuracy over all queries that have a correct match; every value is in 0..1."""

    cmc: dict[int, float]  # rank k -> share of queries with a correct match among the first k
    mAP: float  # mean over queries of the mean of the precisions at the hits, as torchreid has it
    mAP_trapezoid: float  # the data set's own: area under the precision-recall curve by trapezoids
    mINP: float  # correct matches over the rank of the last of them (Ye et al., TPAMI 2021)
    queries: int  # that have a correct match; the others are left out
    average_precision: Float[np.ndarray, " Q"]  # of each query, of which mAP is the mean; NaN without a correct match
    first_hit: Float[np.ndarray, " Q"]  # rank of each query's first correct match; NaN without one

    def as_metrics(self) -> dict[str, float]:
        """Name -> value of each metric: rank1, rank5, rank10, rank20, mAP, mAP_trapezoid, mINP."""
        ranks = {f"rank{k}": share for k, share in self.cmc.items()}
        return {**ranks, "mAP": self.mAP, "mAP_trapezoid": self.mAP_trapezoid, "mINP": self.mINP}


def rank(
    distances: Num[np.ndarray, "Q G"],
    query_pids: Int[np.ndarray, " Q"],
    gallery_pids: Int[np.ndarray, " G"],
    query_camids: Int[np.ndarray, " Q"],
    gallery_camids: Int[np.ndarray, " G"],
    not_for: Int[np.ndarray, " Q"] | None = None,
) -> Ranking:
    """Rank the gallery for each query by distance, smallest first. Lists are accepted in place of arrays.

    Gallery images of the query's person from the query's camera, and those with pid -1, are ignored; distractors
    (pid 0) count. Ties are in the gallery's order. For galleries smaller than 20, rank 20 is the whole list.
    ``not_for`` is the index of another gallery image that is ignored for that query. Raises ValueError where shapes do
    not fit or a distance is not finite, :class:`NoValidQuery` where no query has a correct match.
    """
    distances = np.asarray(distances)
    query_pids, gallery_pids = np.asarray(query_pids), np.asarray(gallery_pids)
    query_camids, gallery_camids = np.asarray(query_camids), np.asarray(gallery_camids)
    expected = (len(query_pids), len(gallery_pids))
    if distances.shape != expected or query_camids.shape != expected[:1] or gallery_camids.shape != expected[1:]:
        raise ValueError(f"distances {distances.shape} do not fit {expected[0]} queries, {expected[1]} gallery images")
    real = gallery_pids != JUNK
    places = np.flatnonzero(real)
    if not real.all():
        distances, gallery_pids, gallery_camids = distances[:, real], gallery_pids[real], gallery_camids[real]

    positions, owners = [], []
    for start in range(0, len(query_pids), _CHUNK):
        part = slice(start, start + _CHUNK)
        same_person = query_pids[part, None] == gallery_pids
        same_camera = query_camids[part, None] == gallery_camids
        if not_for is not None:  # as were it from the query's camera
            same_camera |= places == np.asarray(not_for)[part, None]
        owner, position = _hit_positions(distances[part], same_person & ~same_camera, same_person & same_camera)
        owners.append(owner + start)
        positions.append(position)
    if not sum(map(len, owners)):
        raise NoValidQuery(
            "No query has a correct match: no gallery image shows a query's person from another camera. "
            "Check that query and gallery have people in common, and that camera numbers differ."
        )
    return _summary(np.concatenate(owners), np.concatenate(positions), len(query_pids))


def _hit_positions(distances: np.ndarray, hits: np.ndarray, left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Query index and 1-based rank of each hit, ascending within a query.

    A query has tens of hits among thousands of images. Sorting the values, which numpy does with vector instructions,
    and searching the hits in them is faster than sorting indices.
    """
    if not np.isfinite(distances).all():
        raise ValueError("a distance is NaN or infinite")
    valid = np.where(left_out, np.inf, distances)
    ordered = np.sort(valid, axis=1)
    owner, column = np.nonzero(hits)
    position = np.empty(len(owner), np.int64)
    bounds = np.searchsorted(owner, np.arange(len(distances) + 1))
    for row, (first, last) in enumerate(pairwise(bounds)):
        if first == last:
            continue
        values = np.sort(valid[row, column[first:last]])
        before = np.searchsorted(ordered[row], values, "left")
        if (np.searchsorted(ordered[row], values, "right") - before > 1).any():  # ties: the gallery's order decides
            order = np.argsort(valid[row], kind="stable")
            before = np.flatnonzero(hits[row][order])
        position[first:last] = before + 1
    return owner, position


def _summary(owner: np.ndarray, position: np.ndarray, queries: int) -> Ranking:
    """The metrics from all hits, sorted by query and rank."""
    answered, first, count = np.unique(owner, return_index=True, return_counts=True)
    nth = np.arange(len(owner)) - np.repeat(first, count) + 1
    precision = nth / position
    # One place before a hit the list holds one hit less; before the first place precision counts as 1.
    precision_before = np.where(position > 1, (nth - 1) / np.maximum(position - 1, 1), 1.0)
    best, last = position[first], position[first + count - 1]

    def mean_over_queries(per_hit: np.ndarray) -> float:
        return float(np.mean(np.add.reduceat(per_hit, first) / count))

    average_precision, first_hit = np.full((2, queries), np.nan)
    average_precision[answered] = np.add.reduceat(precision, first) / count
    first_hit[answered] = best
    return Ranking(
        cmc={k: float(np.mean(best <= k)) for k in RANKS},
        mAP=mean_over_queries(precision),
        mAP_trapezoid=mean_over_queries((precision + precision_before) / 2),
        mINP=float(np.mean(count / last)),
        queries=len(first),
        average_precision=average_precision,
        first_hit=first_hit,
    )
