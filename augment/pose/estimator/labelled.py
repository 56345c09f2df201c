"""Crops with known joints, in memory: the estimator's training and test data."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from augment.base.errors import AugmentError
from augment.base.files import read_file
from augment.base.images import decode_image
from augment.base.progress import say
from augment.pose.lookup import read_annotations
from augment.pose.skeleton import to_coco

CROP_SIZE = (128, 64)  # height, width that all crops are brought to for training: one size makes one array
ENOUGH_JOINTS = 8  # of the 18, to learn from: with fewer, more is missing than known


class Example(NamedTuple):
    """name; image (H, W, 3) uint8 RGB; joints (18, 2) as (x, y) in its pixels, NaN where not known."""

    name: str
    image: np.ndarray
    joints: np.ndarray


@dataclass(frozen=True)
class LabelledCrops:
    """crops (N, 128, 64, 3) uint8 RGB; joints (N, 17, 2) as (x, y) in crop pixels, COCO's order; known (N, 17)."""

    crops: np.ndarray
    joints: np.ndarray
    known: np.ndarray

    @staticmethod
    def of(examples: Sequence[Example]) -> "LabelledCrops":
        """Examples of any size, resized to :data:`CROP_SIZE`."""
        crops, points = [], []
        for example in examples:
            scale = np.array(CROP_SIZE[::-1]) / example.image.shape[1::-1]
            image = example.image
            if (scale != 1).any():
                image = cv2.resize(image, CROP_SIZE[::-1], interpolation=cv2.INTER_AREA)
            crops.append(image)
            points.append(to_coco((example.joints + 0.5) * scale - 0.5))
        joints = np.stack(points).astype(np.float32)
        return LabelledCrops(np.stack(crops), np.nan_to_num(joints), ~np.isnan(joints).any(axis=2))

    def digest(self) -> str:
        """A hash of the content, by which a resumed training knows its examples."""
        found = hashlib.sha256()
        for array in (self.crops, self.joints, self.known):
            found.update(np.ascontiguousarray(array))
        return found.hexdigest()


def load_examples(
    images: Path, annotations: Path, *, minimum: int = ENOUGH_JOINTS, count: int | None = None, seed: int = 0
) -> list[Example]:
    """Crops of a folder and their joints from a key point file (.csv or .json), those with ``minimum`` joints or more.

    ``count``: size of a random sample, a function of ``seed``; None: all, in order of their names. Missing and damaged
    files are left out, and their number is reported. Raises :class:`AugmentError` where none is left.
    """
    images = Path(images)
    known = read_annotations(Path(annotations))
    order = known.names.argsort()
    names, joints = known.names[order], known.joints[order, :, :2].astype(float)
    usable = np.flatnonzero((~np.isnan(joints).any(axis=2)).sum(axis=1) >= minimum)
    there = np.array([(images / names[index]).exists() for index in usable], bool)
    if not there.all():
        say(f"{annotations}: {(~there).sum():,} of its {len(there):,} labelled crops are not in {images}.")
    usable = usable[there]
    if count is not None:
        usable = np.random.default_rng(seed).permutation(usable)[:count]
    examples, lost = [], 0
    for index in usable:
        try:
            image = decode_image(read_file(images / names[index]))
        except (OSError, ValueError):
            lost += 1
            continue
        examples.append(Example(names[index], image, joints[index]))
    if lost:
        say(f"{images}: {lost} images named in {annotations} are damaged and are left out.")
    if not examples:
        raise AugmentError(f"{annotations}: names no readable image of {images} with {minimum} or more joints.")
    return examples
