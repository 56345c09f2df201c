"""The third stage: pairs of images of a person, for training and for testing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from augment.base.errors import AugmentError
from augment.base.files import sha256_file
from augment.base.progress import say
from augment.config import Config, PairsConfig
from augment.data.layouts import DISTRACTOR
from augment.data.published import find_published, near_images, published_names
from augment.manifest import SCHEMAS, Manifest, to_table, write_manifest
from augment.pairs.mining import PARTNERS, mine_pairs, mine_positions, sample_test_pairs
from augment.pairs.published import read_published
from augment.stage import Counts, Estimate, begun_shards, finished, provenance

_PER_SECOND = 400_000.0
_BYTES_PER_ROW = 12
_MEMORY_PER_ROW = 300  # two ids as strings, several times


def identity(section: PairsConfig, images: Manifest, poses: Manifest, folder: Path) -> dict[str, Any]:
    """See augment/stage.py."""
    inputs: dict[str, Manifest | str] = {"images": images, "poses": poses}
    if section.test_pairs_file is not None:
        inputs["test_pairs_file"] = sha256_file(_published(section, images))
    return provenance("pairs", 1, section, inputs)


def _published(section: PairsConfig, images: Manifest) -> Path:
    return find_published(section.test_pairs_file, near_images(images), "pairs.test_pairs_file")


begun = begun_shards


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    total = counts.train_pairs + counts.test_pairs
    amount = f"{counts.limit}{counts.train_pairs:,} for training, {counts.test_pairs:,} for testing"
    return Estimate(amount, total, total * _BYTES_PER_ROW, 1 + total / _PER_SECOND, memory=total * _MEMORY_PER_ROW)


def make_pairs(section: PairsConfig, images: Manifest, poses: Manifest, folder: Path) -> Manifest:
    """The training pairs and the test pairs. Returns the table of pairs (``from``, ``to`` are image ids).

    Training pairs are of training images with an accepted pose, test pairs of the others. Raises :class:`AugmentError`
    where there is no training pair, or where training and test share an identity.
    """
    origin = identity(section, images, poses, folder)
    path = Path(folder) / "pairs.parquet"
    if (done := finished(path, origin)) is not None:
        return done

    known = images.columns("id", "pid", "split", "path").to_pandas()
    candidates = poses.columns("id", "accepted").to_pandas().merge(known, on="id", validate="one_to_one")
    of_train = (candidates["split"] == "train").to_numpy()
    check_disjoint(candidates["pid"][of_train], candidates["pid"][~of_train])
    train, test = candidates[of_train], candidates[~of_train]
    source, target = mine_positions(train["pid"].to_numpy(), train["accepted"].to_numpy(), section.seed)
    if not len(source):
        raise AugmentError(
            f"{poses.path}: no two training images of one person have an accepted pose "
            f"({of_train.sum()} poses, {train['accepted'].sum()} accepted), so there is nothing to train on."
        )
    many = train["pid"][train["accepted"] & (train["pid"] > DISTRACTOR)].value_counts().gt(PARTNERS + 1).sum()
    if many:
        say(f"pairs: {many} people have more than {PARTNERS + 1} images; each of their images is paired with "
            f"{PARTNERS} others, drawn at random.")  # fmt: skip
    if section.test_pairs_file is None:
        tested = sample_test_pairs(mine_pairs(test, section.seed), section.test_pairs, section.seed)
    else:
        named = test.assign(name=published_names(test["id"], test["path"]))
        tested = read_published(_published(section, images), named).head(section.test_pairs)
    if tested.empty:
        say("pairs: no pair to test on: nobody has two test images with an accepted pose in pose.splits. The generator "
            "can be trained, but its images cannot be measured.")  # fmt: skip
    say(f"pairs: {len(source)} for training, {len(tested)} for testing.")
    table = _in_order(to_table("pairs", tested.assign(split="test")), train["id"], source, target)
    return write_manifest(path, "pairs", table, origin)


def _in_order(tested: pa.Table, ids: pd.Series, source: np.ndarray, target: np.ndarray) -> pa.Table:
    """The rows in the table's order: test pairs, which are, then training pairs of numbered images, whose ids ascend.

    By number: sorting millions of ids as text would take ten times the memory of the table. In one piece: putting
    pieces together would take its memory once more.
    """
    order = np.argsort(source, kind="stable")  # the targets of a source ascend
    columns = []
    for name, end in (("from", source), ("to", target)):
        names = pa.concat_arrays([*tested[name].chunks, pa.array(ids, pa.string())])
        places = np.append(np.arange(len(tested), dtype=np.int32), len(tested) + end[order])
        columns.append(names.take(pa.array(places)))
    split = pa.array(["test", "train"]).take(pa.array(np.repeat(np.array([0, 1], np.int8), [len(tested), len(source)])))
    return pa.Table.from_arrays([*columns, split], schema=SCHEMAS["pairs"])


def check_disjoint(train_pids: pd.Series, test_pids: pd.Series) -> None:
    """Raise :class:`AugmentError` where training and test share an identity."""
    both = sorted(pid for pid in set(train_pids) & set(test_pids) if pid > DISTRACTOR)
    if both:
        shown = ", ".join(f"{pid:04d}" for pid in both[:5])
        raise AugmentError(
            f"{len(both)} identities are in the training part and in the test part: {shown}. Move each to one side."
        )
