"""Distances between two sets of images, by the features of a network.

With the features of the Inception network of 2015 these are FID and KID; with those of others they have other names.
"""

import numpy as np

from augment.quality.statistics import Jackknife

GROUPS = 10  # of the jackknife
_ROWS = 2000  # of a kernel matrix at a time


def frechet_distance(ours: np.ndarray, real: np.ndarray) -> float:
    """Fréchet distance of Gaussians with the means and covariances of features (N, D), (M, D) (Heusel et al. 2017)."""
    return _frechet(*_moments(ours.astype(np.float64)), *_moments(real.astype(np.float64)))


def kernel_distance(ours: np.ndarray, real: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of (x'y / D + 1)^3, features (N, D) and (M, D) (Binkowski et al. 2018).

    Over all images at once; KID is usually the same averaged over random subsets.
    """
    return _discrepancy(*_kernel_sums(ours, real, np.zeros(len(ours), int), np.zeros(len(real), int), 1), np.zeros(1))


def frechet(ours: np.ndarray, real: np.ndarray) -> Jackknife:
    """:func:`frechet_distance` of all and without each group. The value falls with the number of images."""
    ours, real = ours.astype(np.float64), real.astype(np.float64)
    whole = _frechet(*_moments(ours), *_moments(real))
    if min(len(ours), len(real)) < 2 * GROUPS:
        return Jackknife(whole, np.array([]))
    of_ours, of_real = _groups(len(ours), 0), _groups(len(real), 1)
    without = [_frechet(*_moments(ours[of_ours != group]), *_moments(real[of_real != group]))
               for group in range(GROUPS)]  # fmt: skip
    return Jackknife(whole, np.array(without))


def kernel(ours: np.ndarray, real: np.ndarray) -> Jackknife:
    """:func:`kernel_distance` of all and without each group."""
    if min(len(ours), len(real)) < 2 * GROUPS:
        return Jackknife(kernel_distance(ours, real), np.array([]))
    sums = _kernel_sums(ours, real, _groups(len(ours), 0), _groups(len(real), 1), GROUPS)
    without = [_discrepancy(*sums, np.arange(GROUPS) == group) for group in range(GROUPS)]
    return Jackknife(_discrepancy(*sums, np.zeros(GROUPS)), np.array(without))


def _groups(count: int, seed: int) -> np.ndarray:
    """A group for each of ``count`` images, at random and equally large: the same for every arm."""
    return np.random.default_rng(seed).permutation(np.arange(count) % GROUPS)


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
