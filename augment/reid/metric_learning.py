"""Distances between features: Euclidean, cosine, re-ranked, and the two learned metrics of the paper's Table 4.

Both learned metrics model the difference of two images of the same person, and of different people, as zero-mean
Gaussians, with the log-likelihood ratio as distance (Moghaddam et al.): its matrix is the difference of the inverse
covariances. Only pairs from different cameras count, as in retrieval. Features are scaled to unit length first.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float, Float64, Int

from augment.base.errors import AugmentError
from augment.retrieval.torchreid_quiet import torchreid

Queries, Gallery = Float[np.ndarray, "Q D"], Float[np.ndarray, "G D"]  # features
Distances = Float[np.ndarray, "Q G"]
Features, Labels = Float[np.ndarray, "N D"], Int[np.ndarray, " N"]

_KISSME_DIMENSIONS = 200  # by PCA before it, as in Market-1501's own baseline: an inverse of 2048 needs more images
_RIDGE = 1e-3  # Liao et al. add this to the intra-personal covariance


class Projection(NamedTuple):
    """A learned distance: (x - y)' W M W' (x - y)."""

    basis: Float[np.ndarray, "D d"]  # W
    metric: Float[np.ndarray, "d d"]  # M, symmetric

    def distances(self, query: Queries, gallery: Gallery) -> Distances:
        """Distances between features. May be negative: M need not be positive."""
        query, gallery = query @ self.basis, gallery @ self.basis
        weighted = query @ self.metric
        own = (weighted * query).sum(axis=1)[:, None] + (gallery @ self.metric * gallery).sum(axis=1)
        return own - 2 * weighted @ gallery.T


def pair_covariances(
    features: Features, pids: Labels, camids: Labels
) -> tuple[Float[np.ndarray, "D D"], Float[np.ndarray, "D D"]]:
    """Mean of (x - y)(x - y)' over all pairs from different cameras: of the same person, and of different people.

    Without enumerating pairs: within a group of n images the sum over its pairs is n X'X - s s' with s the sum of its
    rows; pairs across cameras are all pairs less those within a camera. Where no person was seen by two cameras, pairs
    within a camera count too. Raises :class:`AugmentError` where there is no pair of either kind.
    """
    everyone = np.zeros(len(pids), int)
    cameras = np.unique(camids, return_inverse=True)[1]
    people = np.unique(pids, return_inverse=True)[1]
    both = people * (cameras.max() + 1) + cameras
    same, same_pairs = _scatter(features, people)
    every, every_pairs = _scatter(features, everyone)
    same_inside, same_inside_pairs = _scatter(features, both)
    if same_pairs > same_inside_pairs:
        inside, inside_pairs = _scatter(features, cameras)
        same, same_pairs = same - same_inside, same_pairs - same_inside_pairs
        every, every_pairs = every - inside, every_pairs - inside_pairs
    check_pairs(pids)
    return same / same_pairs, (every - same) / (every_pairs - same_pairs)


def check_pairs(pids: np.ndarray) -> None:
    """Raise :class:`AugmentError` where training images of people (N,) have no pair of one person, or none of two."""
    people, counts = np.unique(pids, return_counts=True)
    if len(people) < 2 or counts.max() < 2:
        raise AugmentError("A learned distance (reid.distances: xqda, kissme) needs people with several real training "
                           "images each, and several people.")  # fmt: skip


def _scatter(features: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Sum of (x - y)(x - y)' over the unordered pairs inside groups, and the number of pairs."""
    groups = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(groups)
    sums = np.zeros((len(sizes), features.shape[1]))
    np.add.at(sums, groups, features)
    weighted = features * sizes[groups][:, None]
    return features.T @ weighted - sums.T @ sums, int((sizes * (sizes - 1) // 2).sum())


def xqda(features: Features, pids: Labels, camids: Labels) -> Projection:
    """Cross-view quadratic discriminant analysis (Liao et al., CVPR 2015, Sec. 4).

    W holds the directions with more variance between people than within a person: generalised eigenvectors of
    (extra, intra) with eigenvalue above 1, at least one of them.
    """
    intra, extra = pair_covariances(features, pids, camids)
    intra = intra + _RIDGE * np.eye(len(intra))
    eigenvalues, vectors = scipy.linalg.eigh(extra, intra)
    count = max(1, int((eigenvalues > 1).sum()))
    basis = vectors[:, ::-1][:, :count]
    return Projection(basis, np.linalg.inv(basis.T @ intra @ basis) - np.linalg.inv(basis.T @ extra @ basis))


def kissme(features: Features, pids: Labels, camids: Labels) -> Projection:
    """The "keep it simple and straightforward metric" (Koestinger et al., CVPR 2012), after a PCA."""
    centred = features - features.mean(axis=0)
    count = min(_KISSME_DIMENSIONS, features.shape[1])
    basis = scipy.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :count]
    intra, extra = pair_covariances(features @ basis, pids, camids)
    ridge = 1e-6 * np.trace(extra) / count * np.eye(count)  # features may span fewer dimensions than they have
    eigenvalues, vectors = np.linalg.eigh(np.linalg.inv(intra + ridge) - np.linalg.inv(extra + ridge))
    return Projection(basis, vectors * np.maximum(eigenvalues, 0) @ vectors.T)  # the nearest that is a metric


def unit_length(features: Features) -> Float64[np.ndarray, "N D"]:
    """Rows scaled to Euclidean length 1, in double precision; a row of zeros stays zero."""
    features = features.astype(np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def euclidean(query: Queries, gallery: Gallery) -> Distances:
    """Squared Euclidean distances of features scaled to unit length, as for the baselines of Tab. 4.

    They are twice the cosine distances, with the same ranking.
    """
    return 2 * cosine(query, gallery)


def cosine(query: Queries, gallery: Gallery) -> Distances:
    """1 - cosine of the angle between features."""
    return 1 - unit_length(query) @ unit_length(gallery).T


def reranked(query: Queries, gallery: Gallery) -> Distances:
    """Euclidean distances mixed with the Jaccard distance of k-reciprocal neighbours (Zhong et al., CVPR 2017).

    With the published settings (k1 20, k2 6, lambda 0.3). Memory grows as (Q + G)^2: 5 GB for Market-1501.
    """
    within = (np.sqrt(np.maximum(euclidean(*two), 0)).astype(np.float32)
              for two in ((query, gallery), (query, query), (gallery, gallery)))  # fmt: skip
    return torchreid.utils.re_ranking(*within)


FIXED: dict[str, Callable[[Queries, Gallery], Distances]] = {
    "euclidean": euclidean, "cosine": cosine, "reranked": reranked
}  # fmt: skip
LEARNED: dict[str, Callable[[Features, Labels, Labels], Projection]] = {"xqda": xqda, "kissme": kissme}


def learn(name: str, features: Features, pids: Labels, camids: Labels) -> Projection:
    """Fit one of :data:`LEARNED`. Raises :class:`AugmentError` where the features do not decide it: a covariance is
    singular, or a value is not finite."""
    try:
        learned = LEARNED[name](features, pids, camids)
        if np.isfinite(learned.metric).all():
            return learned
        reason = "its matrix is not finite"
    except (np.linalg.LinAlgError, ValueError) as error:
        reason = str(error)
    raise AugmentError(
        f"{name}: cannot be learned from the features of these {len(features)} training images ({reason}): they are "
        f"all alike, or not finite. Leave {name} out of reid.distances, or train longer or at a lower "
        "reid.learning_rate."
    )
