"""Distances between two sets of images, by the features of a network.

With the features of the Inception network of 2015 these are FID and KID; with those of others they have other names.
"""

from typing import NamedTuple

import numpy as np

from augment.quality.statistics import Jackknife

GROUPS = 10  # of the jackknife, each a tenth of the people
_ROWS = 2000  # of a kernel matrix at a time


class Features(NamedTuple):
    """Of a set of images: features (N, D), and who is on each image (N,)."""

    values: np.ndarray
    people: np.ndarray


def frechet_distance(ours: np.ndarray, real: np.ndarray) -> float:
    """Fréchet distance of Gaussians with the means and covariances of features (N, D), (M, D) (Heusel et al. 2017)."""
    return _frechet(*_moments(ours.astype(np.float64)), *_moments(real.astype(np.float64)))


def kernel_distance(ours: np.ndarray, real: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of (x'y / D + 1)^3, features (N, D) and (M, D) (Binkowski et al. 2018).

    Over all images at once; KID is usually the same averaged over random subsets.
    """
    return _discrepancy(*_kernel_sums(ours, real, np.zeros(len(ours), int), np.zeros(len(real), int), 1), np.zeros(1))


def frechet(ours: Features, real: Features) -> Jackknife:
    """:func:`frechet_distance` of all and without each group. The value falls with the number of images."""
    (ours, of_ours), (real, of_real), groups = _grouped(ours, real)
    ours, real = ours.astype(np.float64), real.astype(np.float64)
    if min(len(ours), len(real)) < 2:  # one image has no covariance
        return Jackknife(np.nan, np.array([]))
    whole = _frechet(*_moments(ours), *_moments(real))
    without = [_frechet(*_moments(ours[of_ours != group]), *_moments(real[of_real != group]))
               for group in range(groups)]  # fmt: skip
    return Jackknife(whole, np.array(without))


def kernel(ours: Features, real: Features) -> Jackknife:
    """:func:`kernel_distance` of all and without each group."""
    (ours, of_ours), (real, of_real), groups = _grouped(ours, real)
    if min(len(ours), len(real)) < 2:
        return Jackknife(np.nan, np.array([]))
    sums = _kernel_sums(ours, real, of_ours, of_real, max(1, groups))
    without = [_discrepancy(*sums, np.arange(groups) == group) for group in range(groups)]
    return Jackknife(_discrepancy(*sums, np.zeros(max(1, groups))), np.array(without))


def _grouped(ours: Features, real: Features) -> tuple[Features, Features, int]:
    """Groups in place of people, a tenth of them each, the same for every arm; and their number: 0 for few people."""
    people, places = np.unique(np.concatenate([ours.people, real.people]), return_inverse=True)
    groups = GROUPS if len(people) >= 2 * GROUPS else 0
    of_people = np.random.default_rng(0).permutation(np.arange(len(people)) % max(1, groups))
    of_ours, of_real = np.split(of_people[places], [len(ours.people)])
    return Features(ours.values, of_ours), Features(real.values, of_real), groups


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return features.mean(axis=0), np.cov(features, rowvar=False).reshape(features.shape[1], -1)


def _frechet(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (A B)^1/2); A B and the symmetric A^1/2 B A^1/2 have the same eigenvalues."""
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * shared)


Sums = tuple[np.ndarray, np.ndarray]  # of a kernel between groups, and how many pairs each sum has: (G, G) both


def _kernel_sums(
    ours: np.ndarray, real: np.ndarray, of_ours: np.ndarray, of_real: np.ndarray, groups: int
) -> tuple[Sums, Sums, Sums]:
    """The sums within ours, within real (without pairs of equals) and between, by pairs of groups."""
    return (
        _between(ours, ours, of_ours, of_ours, groups, same=True),
        _between(real, real, of_real, of_real, groups, same=True),
        _between(ours, real, of_ours, of_real, groups, same=False),
    )


def _between(
    a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray, groups: int, same: bool
) -> Sums:
    sums = np.zeros((groups, groups))
    member = np.eye(groups)[of_b]
    for start in range(0, len(a), _ROWS):
        rows = slice(start, start + _ROWS)
        values = (a[rows] @ b.T / a.shape[1] + 1) ** 3
        if same:
            values[np.arange(len(values)), np.arange(start, start + len(values))] = 0
        np.add.at(sums, of_a[rows], values.astype(np.float64) @ member)
    sizes_a, sizes_b = (np.bincount(of, minlength=groups) for of in (of_a, of_b))
    return sums, np.outer(sizes_a, sizes_b) - (np.diag(sizes_a) if same else 0)


def _discrepancy(within_ours: Sums, within_real: Sums, between: Sums, left_out: np.ndarray) -> float:
    kept = ~left_out.astype(bool)
    ours, real, both = (sums[kept][:, kept].sum() / count[kept][:, kept].sum()
                        for sums, count in (within_ours, within_real, between))  # fmt: skip
    return float(ours + real - 2 * both)
