"""Key points from annotation files: the file of each split, and the row of each image."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError, UsageError
from augment.config import PoseConfig
from augment.data.published import find_published, near_images
from augment.manifest import Manifest
from augment.pose.annotations import read_keypoints


def annotation_files(section: PoseConfig, images: Manifest) -> dict[str, Path]:
    """The key point file of every split in ``pose.splits``, searched for near the images by :func:`find_published`."""
    unnamed = [split for split in section.splits if split not in section.annotations]
    if unnamed:
        raise UsageError(
            f"pose.estimator is 'annotations', but pose.annotations names no file for the split {unnamed[0]}. Set "
            f"pose.annotations.{unnamed[0]} to a .csv in the paper's format or a .json of COCO key points, or leave "
            "the split out of pose.splits."
        )
    near = near_images(images)
    return {
        split: find_published(section.annotations[split], near, f"pose.annotations.{split}") for split in section.splits
    }


def read_annotations(path: Path) -> pd.DataFrame:
    """Rows of a key point file, indexed by file name: x, y, confidence. The frame is cached: do not modify it."""
    status = path.stat()
    return _read_once(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)  # the files of a run, parsed once for all shards of a process
def _read_once(path: Path, size: int, changed: int) -> pd.DataFrame:
    return read_keypoints(path).set_index("name")


def joints_of(names: Sequence[str], rows: pd.DataFrame) -> np.ndarray:
    """Joints (N, 18, 3: x, y, confidence) of the images; all are missing where the file does not list the image."""
    missing = np.concatenate([np.full((18, 2), np.nan), np.zeros((18, 1))], axis=1)
    found = rows.loc[rows.index.intersection(pd.Index(names))]
    known = {row.Index: np.stack([row.x, row.y, row.confidence], axis=1) for row in found.itertuples()}
    return np.stack([known.get(name, missing) for name in names])


def check_names(names: Sequence[str], rows: pd.DataFrame, path: Path) -> None:
    """Raise :class:`AugmentError` where the file lists none of the images: then it is the wrong file."""
    if len(names) and not rows.index.isin(names).any():
        example = f"its first row is for {rows.index[0]}" if len(rows) else "it is empty"
        raise AugmentError(
            f"{path}: names none of the {len(names)} images, not {names[0]} for one; {example}. Set pose.annotations "
            "to the key points of these images."
        )
