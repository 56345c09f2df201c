"""Formats in which every image is a file: Market-1501's folders, Hugging Face's imagefolder, COCO key points."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from augment.base.files import atomic_write
from augment.data.layouts import MARKET_FOLDERS
from augment.export.files import Advance, metadata, place, records
from augment.export.selection import Selection
from augment.pose.skeleton import COCO_NAMES, to_coco

# load_dataset("imagefolder") knows the splits train, validation and test by their folders, and no others.
IMAGEFOLDER = {"train": "train", "query": "test/query", "gallery": "test/gallery"}


def write_market1501(selection: Selection, folder: Path, advance: Advance) -> None:
    """``bounding_box_train``, ``query``, ``bounding_box_test`` with person and camera in the file names. All three are
    created, even if empty: readers require them."""
    for split, name in MARKET_FOLDERS.items():
        _place_all(selection.of(split), folder / name, advance)


def write_imagefolder(selection: Selection, folder: Path, advance: Advance) -> None:
    """A folder per split with ``metadata.parquet`` (``file_name`` and the metadata of each image)."""
    for split in selection.splits:
        rows, place_of_split = selection.of(split), folder / IMAGEFOLDER[split]
        _place_all(rows, place_of_split, advance)
        table = metadata(rows).add_column(0, "file_name", [rows["name"].tolist()])
        with atomic_write(place_of_split / "metadata.parquet") as file:
            pq.write_table(table, file)


def write_coco(selection: Selection, folder: Path, advance: Advance) -> None:
    """``images/<split>/`` and ``annotations/person_keypoints_<split>.json`` with COCO's 17 key points of every image
    with a pose; of a synthetic image its target pose. The bounding box is the whole crop."""
    poses = _Poses(selection)
    for split in selection.splits:
        rows = selection.of(split)
        _place_all(rows, folder / "images" / split, advance)
        with atomic_write(folder / "annotations" / f"person_keypoints_{split}.json") as file:
            for text in _coco_text(rows, poses):
                file.write(text.encode())


def _place_all(rows: pd.DataFrame, folder: Path, advance: Advance) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, sha256, name in zip(rows["file"], rows["sha256"], rows["name"], strict=True):
        place(file, sha256, folder / name)
        advance(1)


def _coco_text(rows: pd.DataFrame, poses: "_Poses") -> Iterator[str]:
    """The annotation file in pieces, so that it is never in memory as a whole."""
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(COCO_NAMES), "skeleton": []}
    yield f'{{"categories": {json.dumps([category])},\n"images": [\n'
    for number, (name, known) in enumerate(zip(rows["name"], records(rows), strict=True), 1):
        image = {**known, "id": number, "file_name": name, "name": known["id"]}
        yield (",\n" if number > 1 else "") + json.dumps(image)
    yield '],\n"annotations": [\n'
    separator = ""
    for number, known in enumerate(records(rows), 1):
        joints = poses.of(known)
        if joints is not None:
            yield separator + json.dumps(_annotation(number, joints, known))
            separator = ",\n"
    yield "]}\n"


def _annotation(number: int, joints: np.ndarray, image: dict[str, Any]) -> dict[str, Any]:
    points = to_coco(joints)
    seen = np.isfinite(points).all(axis=1)
    flat = np.concatenate([np.where(seen[:, None], points, 0), 2.0 * seen[:, None]], axis=1)
    return {
        "id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "num_keypoints": int(seen.sum()),
        "keypoints": flat.ravel().round(2).tolist(), "bbox": [0, 0, image["width"], image["height"]],
        "area": image["width"] * image["height"],
    }  # fmt: skip


class _Poses:
    """Joints of real images, and of synthetic images those of the pose source, scaled to the generated size."""

    def __init__(self, selection: Selection) -> None:
        self._run = selection.run
        images = selection.run.frames["images"]
        self._sizes = dict(zip(images["id"], zip(images["width"], images["height"], strict=True), strict=True))

    def of(self, image: dict[str, Any]) -> np.ndarray | None:
        """(18, 2) in pixels, NaN where missing; None without a pose."""
        owner = image["pose_source"] if image["synthetic"] else image["id"]
        joints = self._run.joints(owner)
        if joints is None or not image["synthetic"]:
            return joints
        factor = np.array([image["width"], image["height"]]) / self._sizes[owner]
        return (joints + 0.5) * factor - 0.5  # a pixel's centre is at its whole number
