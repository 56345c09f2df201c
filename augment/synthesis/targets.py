"""Whom images are generated of, and in which poses (App. C)."""

import numpy as np
import pandas as pd

from augment.base.files import sha256_bytes
from augment.manifest import Manifest


def find_sources(images: Manifest, poses: Manifest) -> pd.DataFrame:
    """Training images of known people with an accepted pose, by id: image columns plus ``x`` and ``y``."""
    frame = images.frame()
    frame = frame[(frame["split"] == "train") & (frame["status"] == "ok") & (frame["pid"] > 0)]
    accepted = poses.frame().query("accepted")[["id", "x", "y"]]
    return frame.merge(accepted, on="id").sort_values("id", ignore_index=True)


def sample_poses(source: str, count: int, pool: int, seed: int) -> np.ndarray:
    """Which of ``pool`` poses a source is generated in: ``count`` different ones (fewer of a smaller pool)."""
    rng = np.random.default_rng([seed, int.from_bytes(bytes.fromhex(sha256_bytes(source.encode())[:16]))])
    return rng.choice(pool, min(count, pool), replace=False)
