"""Files of key points: the paper's CSV, and COCO's JSON, which most other estimators write.

In memory a table has the columns ``name``, ``x``, ``y`` and ``confidence``; the last three hold 18 values per row in
the order of :data:`augment.pose.skeleton.JOINTS`, in pixels of the image, NaN where a joint is missing.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError, UsageError
from augment.base.files import atomic_write, open_file
from augment.pose.skeleton import COCO_NAMES, JOINTS, from_coco, to_coco

_HEADER = ["name", "keypoints_y", "keypoints_x"]
_MISSING = -1
_COUNT = len(JOINTS)


def keypoint_rows(path: Path | str) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """The rows (name, x, y, confidence) of a key point file: .csv is the paper's format, .json COCO's.

    Of the .csv no more than a line is in memory; the .json is read as a whole.
    """
    match Path(path).suffix.lower():
        case ".csv":
            return _posegan_rows(path)
        case ".json":
            return read_coco_json(path).itertuples(index=False, name=None)
    raise UsageError(f"{path}: a key point file ends in .csv (the paper's format) or .json (COCO key points).")


def read_posegan_csv(path: Path | str) -> pd.DataFrame:
    """Read the paper's format, ``name: [y...]: [x...]`` with -1 for a missing joint.

    Returns a row per image in the file's order: name, x, y, confidence (1 where the joint is present). Raises
    :class:`AugmentError` that names the file and the row.
    """
    return pd.DataFrame(_posegan_rows(path), columns=["name", "x", "y", "confidence"])


def _posegan_rows(path: Path | str) -> Iterator[tuple]:
    with _opened_text(path) as file:
        header = [column.strip() for column in file.readline().split(":")]
        missing = [column for column in _HEADER if column not in header]
        if missing:
            raise AugmentError(f"{path}: column {missing[0]} is missing. The first line must be {':'.join(_HEADER)}, "
                               "with colons between.")  # fmt: skip
        seen: set[str] = set()
        for number, line in enumerate(file, 2):
            if not line.strip():
                continue
            row = _parse_row(path, number, line.rstrip(), header)
            if row[0] in seen:
                raise AugmentError(f"{path}: {row[0]} is duplicated. Keep one row per image.")
            seen.add(row[0])
            yield row


def write_posegan_csv(frame: pd.DataFrame, path: Path | str) -> None:
    """Write columns name, x, y in the paper's format; integers are written without a decimal point."""
    lines = [":".join(_HEADER)]
    for name, x, y in zip(frame["name"], frame["x"], frame["y"], strict=True):
        x, y = np.asarray(x, float), np.asarray(y, float)
        gone = np.isnan(x) | np.isnan(y)
        lines.append(f"{name}: {_format(y, gone)}: {_format(x, gone)}")
    with atomic_write(Path(path)) as file:
        file.write(("\n".join(lines) + "\n").encode())


def read_coco_json(path: Path | str) -> pd.DataFrame:
    """Read COCO key points (17 joints): a whole annotation file with images and annotations.

    The neck is the midpoint of the shoulders. Of several people in an image the person with the largest box counts.
    Images without a person get a row of NaN. Confidence is the visibility flag (0 missing, 1 hidden, 2 visible) as 0,
    1, 1, or the score where an estimator writes its scores in that place.
    """
    path = Path(path)
    try:
        with _opened_text(path) as file:
            content = json.loads(file.read())
    except json.JSONDecodeError as error:
        raise AugmentError(f"{path}: not valid JSON (line {error.lineno}: {error.msg}).") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in lists without end
        raise AugmentError(f"{path}: not valid JSON ({error}).") from None
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise AugmentError(f"{path}: the list '{key}' of COCO's format is missing.")
    best: dict[Any, tuple[float, np.ndarray]] = {}
    for number, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotation {number}"
        if not isinstance(annotation, dict) or not isinstance(annotation.get("image_id"), int | str):
            raise AugmentError(f"{where}: image_id is missing.")
        points = _coco_points(where, annotation.get("keypoints"))
        size = _extent(annotation, points)
        if size > best.get(annotation["image_id"], (-1.0,))[0]:
            best[annotation["image_id"]] = (size, points)
    rows = []
    for number, image in enumerate(content["images"]):
        if not (isinstance(image, dict) and isinstance(image.get("id"), int | str)
                and isinstance(image.get("file_name"), str)):  # fmt: skip
            raise AugmentError(f"{path}: image {number}: id or file_name is missing.")
        joints = from_coco(best[image["id"]][1]) if image["id"] in best else np.full((_COUNT, 3), np.nan)
        rows.append((Path(image["file_name"]).name, joints[:, 0], joints[:, 1], np.nan_to_num(joints[:, 2])))
    frame = pd.DataFrame(rows, columns=["name", "x", "y", "confidence"])
    repeated = frame["name"][frame["name"].duplicated()]
    if len(repeated):
        raise AugmentError(f"{path}: {repeated.iloc[0]} is duplicated. Keep one row per image.")
    return frame


def write_coco_json(frame: pd.DataFrame, path: Path | str) -> None:
    """Write columns name, x, y as COCO key points; the neck is left out, a row without any joint has no annotation."""
    images, annotations = [], []
    for number, (name, x, y) in enumerate(zip(frame["name"], frame["x"], frame["y"], strict=True), 1):
        images.append({"id": number, "file_name": name})
        points = to_coco(np.stack([np.asarray(x, float), np.asarray(y, float)], axis=1))
        seen = ~np.isnan(points).any(axis=1)
        if not seen.any():
            continue
        low, high = points[seen].min(axis=0), points[seen].max(axis=0)
        flat = np.concatenate([points, np.full((len(points), 1), 2.0)], axis=1)
        flat[~seen] = 0
        annotations.append({
            "id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "keypoints": flat.ravel().tolist(),
            "num_keypoints": int(seen.sum()), "bbox": [*map(float, low), *map(float, high - low)],
            "area": float((high - low).prod()),
        })  # fmt: skip
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(COCO_NAMES), "skeleton": []}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    with atomic_write(Path(path)) as file:
        file.write(json.dumps(content).encode())


@contextmanager
def _opened_text(path: Path | str) -> Iterator[TextIO]:
    try:
        with TextIOWrapper(open_file(Path(path)), encoding="utf-8-sig") as file:
            yield file
    except FileNotFoundError:
        raise AugmentError(f"{path}: no such key point file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AugmentError(f"{path}: cannot be read as text: {error}") from None


def _parse_row(path: Path | str, number: int, line: str, header: list[str]) -> tuple:
    cells = line.rsplit(":", len(header) - 1)
    if len(cells) != len(header):
        raise AugmentError(f"{path}: row {number}: {len(cells)} fields instead of {len(header)}: {line[:60]!r}")
    values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    x = _parse_list(path, number, "keypoints_x", values["keypoints_x"])
    y = _parse_list(path, number, "keypoints_y", values["keypoints_y"])
    there = (x != _MISSING) & (y != _MISSING) & np.isfinite(x) & np.isfinite(y)
    return values["name"], np.where(there, x, np.nan), np.where(there, y, np.nan), there.astype(float)


def _parse_list(path: Path | str, number: int, column: str, text: str) -> np.ndarray:
    try:
        values = np.array(json.loads(text), float)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise AugmentError(f"{path}: row {number}: {column} is no list of numbers: {text[:60]!r}") from None
    if values.shape != (_COUNT,):
        raise AugmentError(
            f"{path}: row {number}: {column} has {values.size} joints, {_COUNT} are needed "
            "(OpenPose's COCO model: nose, neck, right shoulder, ...)."
        )
    return values


def _format(values: np.ndarray, gone: np.ndarray) -> str:
    plain = [_MISSING if lost else int(v) if v == int(v) else float(v) for v, lost in zip(values, gone, strict=True)]
    return json.dumps(plain)


def _coco_points(where: str, flat: Any) -> np.ndarray:
    try:
        points = np.array(flat, float)
    except (ValueError, TypeError, OverflowError):
        points = np.empty(0)
    if points.shape != (3 * len(COCO_NAMES),):
        raise AugmentError(
            f"{where}: {points.size / 3:g} key points (x, y, visibility), {len(COCO_NAMES)} are needed: COCO's person."
        )
    points = points.reshape(-1, 3)
    points[~(points[:, 2] > 0) | ~np.isfinite(points).all(axis=1)] = np.nan
    points[:, 2] = points[:, 2].clip(max=1)
    return points


def _extent(annotation: dict, points: np.ndarray) -> float:
    try:
        _, _, width, height = map(float, annotation.get("bbox") or ())
        if 0 <= width * height < np.inf:
            return width * height
    except (TypeError, ValueError, OverflowError):
        pass  # no box, or none of numbers: the joints tell
    seen = points[~np.isnan(points[:, 0]), :2]
    return float(np.ptp(seen, axis=0).prod()) if len(seen) else 0.0
