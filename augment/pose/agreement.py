"""PCK of a pose: the share of the target's joints that are found near their places."""

import numpy as np


def share_met(found: np.ndarray, wanted: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Share of each target pose's joints found ``within`` (B,) pixels: (B,), NaN without joints or distance.

    found, wanted: (B, 18, 2), NaN missing.
    """
    known = np.isfinite(wanted).all(axis=2)
    distance = np.nan_to_num(np.linalg.norm(found - wanted, axis=2), nan=np.inf)
    met = (known & (distance <= within[:, None])).sum(axis=1)
    return np.where(known.any(axis=1) & np.isfinite(within), met / np.maximum(known.sum(axis=1), 1), np.nan)
