"""PCK of a pose: which share of the joints asked for is found where it was asked to be."""

import numpy as np


def share_met(found: np.ndarray, wanted: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Share of each pose's joints found ``within`` (B,) pixels: (B,), NaN without a wanted joint or a distance.

    found, wanted: (B, 18, 2), NaN missing.
    """
    known = np.isfinite(wanted).all(axis=2)
    distance = np.nan_to_num(np.linalg.norm(found - wanted, axis=2), nan=np.inf)
    met = (known & (distance <= within[:, None])).sum(axis=1)
    return np.where(known.any(axis=1) & np.isfinite(within), met / np.maximum(known.sum(axis=1), 1), np.nan)
