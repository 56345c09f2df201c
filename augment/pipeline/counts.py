"""The size of the data set: counted from the stages' tables, or from file listings where there are none yet."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from augment.config import Config
from augment.data.stage import dataset_root, list_images
from augment.manifest import Manifest
from augment.pairs.mining import PARTNERS
from augment.stage import Counts


def list_of_images(config: Config, tables: Mapping[str, Manifest]) -> pd.DataFrame:
    """id, split, pid and camid of every image: of its table where that is up to date, else from file names alone."""
    if "images" in tables:
        return tables["images"].columns("id", "split", "pid", "camid").to_pandas()
    found = list_images(config.data, dataset_root(config.data, config.folder.absolute() / "images"))
    rows = [(image.id, image.split, image.name.pid, image.name.camid) for image in found]
    return pd.DataFrame(rows, columns=["id", "split", "pid", "camid"])


def count(config: Config, tables: Mapping[str, Manifest], listed: pd.DataFrame | None = None) -> Counts:
    """``tables``: those that are up to date, by stage; images, poses and pairs are read. No image is decoded.

    ``listed``: what :func:`list_of_images` returned.
    """
    if listed is None:
        listed = list_of_images(config, tables)
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


def _ordered_pairs(pids: pd.Series) -> int:
    sizes = pids[pids > 0].value_counts().to_numpy()
    return int(sizes @ np.minimum(sizes - 1, PARTNERS))
