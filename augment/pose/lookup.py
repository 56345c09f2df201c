"""Key points from annotation files: the file of each split, and the row of each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError, UsageError
from augment.base.files import local
from augment.config import PoseConfig
from augment.data.published import find_published, near_images
from augment.manifest import Manifest
from augment.pose.annotations import keypoint_rows

_BLOCK = 10_000  # rows that are parsed before they are packed


def check_named(section: PoseConfig) -> None:
    """Raise :class:`UsageError` where a split of ``pose.splits`` has no key point file in the settings."""
    unnamed = [split for split in section.splits if split not in section.annotations]
    if unnamed:
        raise UsageError(
            f"pose.estimator is 'annotations', but pose.annotations names no file for the split {unnamed[0]}. Set "
            f"pose.annotations.{unnamed[0]} to a .csv in the paper's format or a .json of COCO key points, or leave "
            "the split out of pose.splits."
        )


def annotation_files(section: PoseConfig, images: Manifest) -> dict[str, Path]:
    """The key point file of every split in ``pose.splits``, searched for near the images by :func:`find_published`."""
    check_named(section)
    near = near_images(images)
    return {
        split: find_published(section.annotations[split], near, f"pose.annotations.{split}") for split in section.splits
    }


@dataclass(frozen=True)
class KeyPoints:
    """The content of a key point file. It is cached: do not modify it."""

    names: pd.Index  # file names of the images
    joints: np.ndarray  # (N, 18, 3) float32: x, y, confidence


def read_annotations(path: Path) -> KeyPoints:
    """A key point file; parsed again only where it has changed."""
    try:
        status = local(path).stat()
    except OSError as error:
        raise AugmentError(f"{path}: cannot be read ({error.strerror}). Name a file of key points.") from None
    return _read_once(path, status.st_size, status.st_mtime_ns)


def forget() -> None:
    """Free the memory of files that were read."""
    _read_once.cache_clear()


@lru_cache(maxsize=8)  # the files of a run, parsed once for all shards of a process
def _read_once(path: Path, size: int, changed: int) -> KeyPoints:
    names: list[str] = []
    joints = bytearray()  # grows in place: a list of arrays would be copied into one, and both be in memory
    rows = keypoint_rows(path)
    while block := list(islice(rows, _BLOCK)):
        names += [name for name, *_ in block]
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and lies outside its image
            joints += np.array([axes for _, *axes in block]).astype(np.float32).transpose(0, 2, 1).tobytes()
    return KeyPoints(pd.Index(names, dtype=object), np.frombuffer(joints, np.float32).reshape(-1, 18, 3))


def known_joints(names: Sequence[str], known: KeyPoints) -> np.ndarray:
    """Joints (N, 18, 3: x, y, confidence) of the images; all are missing where the file does not list the image."""
    places = known.names.get_indexer(pd.Index(names, dtype=object))
    missing = np.broadcast_to(np.array([np.nan, np.nan, 0], np.float32), (len(names), 18, 3))
    return np.where((places >= 0)[:, None, None], known.joints[places], missing) if len(known.names) else missing


def check_names(names: Sequence[str], known: KeyPoints, path: Path) -> None:
    """Raise :class:`AugmentError` where the file lists none of the images, or two images have one name."""
    if (twice := pd.Index(names).duplicated()).any():
        raise AugmentError(f"{path}: several images are named {names[int(twice.argmax())]}, so a row for that name may "
                           "be of any. Number the images with `augment data import` first.")  # fmt: skip
    if len(names) and not known.names.isin(names).any():
        example = f"its first row is for {known.names[0]}" if len(known.names) else "it is empty"
        raise AugmentError(
            f"{path}: lists none of the {len(names)} images ({names[0]}, for example); {example}. Set pose.annotations "
            "to the key points of these images."
        )
