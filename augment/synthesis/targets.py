"""The sources and target poses of the synthetic images (App. C)."""

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from augment.base.files import sha256_bytes
from augment.manifest import Manifest


def find_sources(images: Manifest, poses: Manifest) -> pd.DataFrame:
    """Training images of known people with an accepted pose, by id.

    Columns: id, path, pid, camid, width, height, and ``pose``: the row of the poses table.
    """
    wanted = (pc.field("split") == "train") & (pc.field("status") == "ok") & (pc.field("pid") > 0)
    names = ["id", "path", "pid", "camid", "width", "height"]
    sources = images.columns(*names, "split", "status").filter(wanted).select(names)
    posed = poses.columns("id", "accepted").combine_chunks()
    pose = pc.index_in(sources["id"], value_set=posed["id"])  # null where an image has none
    accepted = pc.fill_null(posed["accepted"].take(pose), False)
    return sources.append_column("pose", pose).filter(accepted).sort_by("id").to_pandas()


def sample_poses(source: str, count: int, pool: int, seed: int) -> np.ndarray:
    """The target poses of a source: ``count`` different ones of ``pool`` (fewer if there are fewer)."""
    rng = np.random.default_rng([seed, int.from_bytes(bytes.fromhex(sha256_bytes(source.encode())[:16]))])
    return rng.choice(pool, min(count, pool), replace=False)
