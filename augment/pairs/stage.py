"""The third stage: which two images of a person make a training or a test pair."""

from pathlib import Path
from typing import Any

import pandas as pd

from augment.base.errors import AugmentError
from augment.base.files import sha256_file
from augment.base.progress import say
from augment.config import Config, PairsConfig
from augment.data.layouts import DISTRACTOR
from augment.data.published import find_published, near_images
from augment.manifest import Manifest, write_manifest
from augment.pairs.mining import mine_pairs, sample_test_pairs
from augment.pairs.published import read_published
from augment.stage import Counts, Estimate, begun_shards, finished, provenance

_PER_SECOND = 400_000.0
_BYTES_PER_ROW = 12


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
    return Estimate(amount, total, total * _BYTES_PER_ROW, 1 + total / _PER_SECOND)


def make_pairs(section: PairsConfig, images: Manifest, poses: Manifest, folder: Path) -> Manifest:
    """All training pairs and the test pairs. Returns the table of pairs (``from``, ``to`` are image ids).

    Training pairs come from the training images with an accepted pose, test pairs from the others. Raises
    :class:`AugmentError` where there is no training pair, or where an identity is on both sides.
    """
    origin = identity(section, images, poses, folder)
    path = Path(folder) / "pairs.parquet"
    if (done := finished(path, origin)) is not None:
        return done

    known = images.frame()[["id", "pid", "split", "path"]]
    candidates = poses.frame()[["id", "accepted"]].merge(known, on="id", validate="one_to_one")
    of_train = candidates["split"] == "train"
    check_disjoint(candidates["pid"][of_train], candidates["pid"][~of_train])
    train = mine_pairs(candidates[of_train])
    if train.empty:
        raise AugmentError(
            f"{poses.path}: no two training images of one person have an accepted pose ({of_train.sum()} poses, "
            f"{candidates['accepted'][of_train].sum()} accepted), so there is nothing to train on."
        )
    if section.test_pairs_file is None:
        test = sample_test_pairs(mine_pairs(candidates[~of_train]), section.test_pairs, section.seed)
    else:
        test = read_published(_published(section, images), candidates[~of_train]).head(section.test_pairs)
    say(f"pairs: {len(train)} for training, {len(test)} for testing.")
    return write_manifest(path, "pairs", pd.concat([train.assign(split="train"), test.assign(split="test")]), origin)


def check_disjoint(train_pids: pd.Series, test_pids: pd.Series) -> None:
    """Raise :class:`AugmentError` where a person is on both sides: the test would be no test."""
    both = sorted(pid for pid in set(train_pids) & set(test_pids) if pid > DISTRACTOR)
    if both:
        shown = ", ".join(f"{pid:04d}" for pid in both[:5])
        raise AugmentError(
            f"{len(both)} identities are in the training part and in the test part: {shown}. Move each to one side."
        )
