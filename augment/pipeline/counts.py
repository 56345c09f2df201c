"""How much there is to work on: counted from the stages' tables, from file listings before those are there."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow.compute as pc

from augment.config import Config
from augment.data.stage import dataset_root, list_images
from augment.manifest import Manifest
from augment.stage import Counts


def count(config: Config, tables: Mapping[str, Manifest]) -> Counts:
    """``tables``: those that are up to date, by stage; images, poses and pairs are looked at. Nothing is decoded."""
    if "images" in tables:
        rows = tables["images"].table.select(["id", "split", "pid"]).to_pylist()
        listed = [(row["id"], row["split"], row["pid"]) for row in rows]
    else:
        listed = _listing(config, config.folder.absolute() / "images")
    splits = Counter(split for _, split, _ in listed)
    posed = sum(splits[split] for split in config.pose.splits)
    if "poses" in tables:
        accepted = set(tables["poses"].table.filter(pc.field("accepted"))["id"].to_pylist())
        usable = [row for row in listed if row[0] in accepted]
    else:
        usable = [row for row in listed if row[1] in config.pose.splits and row[2] > 0]
    train, test = ([row for row in usable if (row[1] == "train") == wanted] for wanted in (True, False))
    pairs = [_ordered_pairs(train), min(_ordered_pairs(test), config.pairs.test_pairs)]
    if "pairs" in tables:
        of_split = Counter(tables["pairs"].table["split"].to_pylist())
        pairs = [of_split["train"], of_split["test"]]
    return Counts(dict(splits), posed, len(train), *pairs, exact="poses" in tables)


def _listing(config: Config, folder: Path) -> list[tuple[str, str, int]]:
    """id, split and pid of every image file, from names alone."""
    found = list_images(config.data, dataset_root(config.data, folder))
    return [(image.id, image.split, image.name.pid) for image in found]


def _ordered_pairs(rows: list[tuple[str, str, int]]) -> int:
    return sum(n * (n - 1) for pid, n in Counter(pid for _, _, pid in rows).items() if pid > 0)
