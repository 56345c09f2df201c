"""The size of the data set: counted from the stages' tables, or from file listings where there are none yet."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from augment.config import Config
from augment.data.stage import dataset_root, list_images
from augment.manifest import Manifest
from augment.pairs.mining import PARTNERS
from augment.stage import Counts


def count(config: Config, tables: Mapping[str, Manifest]) -> Counts:
    """``tables``: those that are up to date, by stage; images, poses and pairs are read. No image is decoded."""
    if "images" in tables:
        listed = tables["images"].columns("id", "split", "pid").to_pandas()
    else:
        listed = _listing(config, config.folder.absolute() / "images")
    splits = listed["split"].value_counts().to_dict()
    posed = sum(splits.get(split, 0) for split in config.pose.splits)
    if "poses" in tables:
        accepted = tables["poses"].columns("id", "accepted").filter(pc.field("accepted"))
        usable = listed["id"].isin(accepted["id"].to_pandas())
    else:
        usable = listed["split"].isin(config.pose.splits) & (listed["pid"] > 0)
    of_train = listed["split"] == "train"
    train, test = listed["pid"][usable & of_train], listed["pid"][usable & ~of_train]
    pairs = [_ordered_pairs(train), min(_ordered_pairs(test), config.pairs.test_pairs)]
    if "pairs" in tables:
        found = tables["pairs"].columns("split")["split"]
        pairs = [pc.sum(pc.equal(found, split)).as_py() or 0 for split in ("train", "test")]
    return Counts(splits, posed, len(train), *pairs, exact="poses" in tables)


def _listing(config: Config, folder: Path) -> pd.DataFrame:
    """id, split and pid of every image file, from names alone."""
    found = list_images(config.data, dataset_root(config.data, folder))
    rows = [(image.id, image.split, image.name.pid) for image in found]
    return pd.DataFrame(rows, columns=["id", "split", "pid"])


def _ordered_pairs(pids: pd.Series) -> int:
    sizes = pids[pids > 0].value_counts().to_numpy()
    return int(sizes @ np.minimum(sizes - 1, PARTNERS))
