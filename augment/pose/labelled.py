"""Crops with known joints, in memory: what the estimator learns from and is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from augment.errors import AugmentError
from augment.files import decode_image
from augment.pose.annotations import read_posegan_csv
from augment.pose.skeleton import to_coco
from augment.progress import say

CROP_SIZE = (128, 64)  # height, width that all crops are brought to: one size makes one array
ENOUGH_JOINTS = 8  # of the 18: with fewer, more is missing than known


@dataclass(frozen=True)
class LabelledCrops:
    """crops (N, 128, 64, 3) uint8 RGB; joints (N, 17, 2) as (x, y) in crop pixels, COCO's order; known (N, 17)."""

    crops: np.ndarray
    joints: np.ndarray
    known: np.ndarray

    @staticmethod
    def merge(sources: Sequence["LabelledCrops"]) -> "LabelledCrops":
        """All of them as one."""
        fields = ("crops", "joints", "known")
        return LabelledCrops(*(np.concatenate([getattr(one, field) for one in sources]) for field in fields))


def load_labelled(images: Path, annotations: Path) -> LabelledCrops:
    """The crops of a folder that a CSV in the paper's format gives enough joints for, sorted by name.

    Files that are gone or damaged are left out and counted aloud. Raises :class:`AugmentError` where none is left.
    """
    images = Path(images)
    crops, points, lost = [], [], 0
    for row in read_posegan_csv(annotations).sort_values("name").itertuples():
        joints = np.stack([row.x, row.y], axis=1)
        if (~np.isnan(joints).any(axis=1)).sum() < ENOUGH_JOINTS:
            continue
        try:
            image = decode_image((images / row.name).read_bytes())
        except (OSError, ValueError):
            lost += 1
            continue
        height, width = image.shape[:2]
        if (height, width) != CROP_SIZE:
            image = cv2.resize(image, CROP_SIZE[::-1], interpolation=cv2.INTER_AREA)
            joints = (joints + 0.5) * (np.array(CROP_SIZE[::-1]) / (width, height)) - 0.5
        crops.append(image)
        points.append(to_coco(joints))
    if lost:
        say(f"{images}: {lost} files named in {annotations} are missing or damaged and are left out.")
    if not crops:
        raise AugmentError(f"{annotations}: names no readable crop of {images} with {ENOUGH_JOINTS} or more joints.")
    stacked = np.stack(points).astype(np.float32)
    known = ~np.isnan(stacked).any(axis=2)
    return LabelledCrops(np.stack(crops), np.nan_to_num(stacked), known)
