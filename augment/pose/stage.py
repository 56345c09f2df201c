"""The second stage: the joints of every image, and the filter's verdict on it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.base.files import read_file, sha256_file
from augment.base.images import decode_image
from augment.base.storage.copies import fetch_all
from augment.config import Config, PoseConfig
from augment.data.published import published_names
from augment.manifest import Manifest, relative_path
from augment.pose import filtering, lookup
from augment.pose.estimator.checkpoints import Checkpoint, find_checkpoint
from augment.pose.plausibility import check_joints, far_outside
from augment.stage import (
    Counts,
    Estimate,
    ShardSize,
    Spread,
    begun_shards,
    one_by_one,
    provenance,
    run_shards,
    size_of_shards,
)

VERSION = 1
TABLE = "poses.parquet"
_AT_ONCE = 256  # images in memory
_CHECKED = 100_000  # key points of a file that are compared with their images' sizes, at most
PER_SECOND = {"annotations": 20_000.0, "openpifpaf": 100.0}  # images on two cores
_BYTES_PER_ROW = 450


def identity(section: PoseConfig, images: Manifest, folder: Path) -> dict[str, Any]:
    """See augment/stage.py."""
    frame = _wanted(section, images)
    if section.estimator == "annotations":
        files = lookup.annotation_files(section, images)
        inputs = {f"annotations {split}": sha256_file(path) for split, path in files.items()}
    else:
        files = {}
        inputs = named_files(section)
    origin = provenance("poses", VERSION, section, {"images": images, **inputs})
    if files and not _is_of(folder / TABLE, origin):  # else they were checked when it was made
        for split, path in files.items():
            _check_annotations(frame[frame["split"] == split], path)
    return origin


def named_files(section: PoseConfig) -> dict[str, str]:
    """See augment/stage.py; of key point files, which are searched for near the images, only the names are checked."""
    if section.estimator == "annotations":
        lookup.check_named(section)
        return {}
    return {"checkpoint": find_checkpoint(section.checkpoint, section.checkpoint_sha256).sha256}


begun = begun_shards


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    amount = f"{counts.posed:,} images ({', '.join(config.pose.splits)})"
    seconds = 5 + counts.posed / PER_SECOND[config.pose.estimator]
    return Estimate(amount, counts.posed, counts.posed * _BYTES_PER_ROW, seconds, config.pose.estimator == "openpifpaf")


def estimate_poses(
    section: PoseConfig, images: Manifest, folder: Path, *, spread: Spread = one_by_one, shard_size: ShardSize = "auto"
) -> Manifest:
    """Joints of the images of ``section.splits``, estimated by openpifpaf or read from key point files.

    Writes ``<folder>/poses.parquet`` and reports what was found. Raises :class:`AugmentError` where a file is missing
    or wrong, or where the detection rate is below ``section.minimum_detection_rate``.
    """
    folder = Path(folder)
    origin, frame = identity(section, images, folder), _wanted(section, images)
    if section.estimator == "annotations":
        files = {split: file.absolute() for split, file in lookup.annotation_files(section, images).items()}
        work = partial(_look_up, section=section, images=images, files=files)
    else:
        checkpoint = find_checkpoint(section.checkpoint, section.checkpoint_sha256)
        work = partial(_estimate, section=section, images=images, checkpoint=checkpoint)
    size = size_of_shards(shard_size, len(frame), 1 / PER_SECOND[section.estimator])
    poses = run_shards("poses", folder / TABLE, origin, frame["id"].tolist(), work, spread=spread, shard_size=size)
    lookup.forget()
    filtering.report(poses.columns("id", "status", "verdict", "people", "x"), frame["pid"], section)  # both by id
    return poses


def _is_of(path: Path, origin: dict[str, Any]) -> bool:
    """Whether the table has this provenance by its header; its rows are not read, and damage is not reported."""
    try:
        return Manifest(path).provenance.get("digest") == origin["digest"]
    except (AugmentError, KeyError, AttributeError, TypeError):
        return False


def _wanted(section: PoseConfig, images: Manifest) -> pd.DataFrame:
    frame = images.columns("id", "split", "pid", "path", "status", "width", "height").to_pandas()
    frame = frame[frame["split"].isin(section.splits)]
    if frame.empty:
        raise AugmentError(f"{images.path}: has no image in pose.splits = {', '.join(section.splits)}.")
    return frame


def _check_annotations(rows: pd.DataFrame, path: Path) -> None:
    """Raise :class:`AugmentError` where a file's key points cannot be those of these images."""
    known = lookup.read_annotations(path)
    lookup.check_names(_names(rows), known, path)
    rows = rows[rows["status"] == "ok"]
    rows = rows.iloc[:: len(rows) // _CHECKED + 1]  # a wrong file is wrong everywhere
    if len(rows):
        check_joints(lookup.known_joints(_names(rows), known), rows[["width", "height"]].to_numpy(float), path)


def _names(rows: pd.DataFrame) -> list[str]:
    return published_names(rows["id"], rows["path"])


def _look_up(
    ids: Sequence[str], *, folder: Path, section: PoseConfig, images: Manifest, files: dict[str, Path]
) -> list[dict]:
    rows, made = images.rows(ids), []
    for split, part in rows.groupby("split"):
        known = lookup.read_annotations(files[split])
        for row, joints in zip(part.itertuples(), lookup.known_joints(_names(part), known), strict=True):
            if row.status == "ok":
                joints[far_outside(joints, (row.width, row.height))] = (np.nan, np.nan, 0)
            people = int(not np.isnan(joints[:, 0]).all())
            made.append(_pose(row, joints, people, folder, section, images, "annotations", ""))
    return made


def _estimate(
    ids: Sequence[str], *, folder: Path, section: PoseConfig, images: Manifest, checkpoint: Checkpoint
) -> list[dict]:
    from augment.pose.estimator.predictor import (
        cached_estimator,  # openpifpaf takes seconds to import: only when needed
    )

    estimator = cached_estimator(
        checkpoint, section.device, section.batch_size, section.joint_confidence, section.person_confidence
    )
    rows, made = list(images.rows(ids).itertuples()), []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        fetch_all(images.file_of(row.path) for row in some)
        opened = [_open(row, images) for row in some]
        poses = iter(estimator.estimate([crop for _, crop in opened if crop is not None]))
        for row, crop in opened:
            pose = next(poses) if crop is not None else None
            joints, people = (None, 0) if pose is None else pose
            made.append(_pose(row, joints, people, folder, section, images, "openpifpaf", checkpoint.sha256))
    return made


def _open(row, images: Manifest) -> tuple[Any, np.ndarray | None]:
    """A row of the images and its crop; where that cannot be read, the row with status "failed" and None."""
    if row.status != "ok":
        return row, None
    try:
        return row, decode_image(read_file(images.file_of(row.path)))
    except (OSError, ValueError) as error:
        return row._replace(status="failed", reason=str(error), sha256=""), None


def _pose(
    row, joints: np.ndarray | None, people: int, folder: Path, section: PoseConfig, images: Manifest, estimator: str,
    checkpoint: str,
) -> dict:  # fmt: skip
    """A row of the table. joints: (18, 3) as x, y, confidence; None for an image that could not be read."""
    if row.status != "ok" or joints is None:
        joints, people, verdict = np.full((18, 3), np.nan), 0, filtering.FAILED
    else:
        verdict = filtering.verdict(joints, row.pid, section.filter)
    return {
        "id": row.id, "path": relative_path(images.file_of(row.path), folder), "sha256": row.sha256,
        "width": row.width, "height": row.height, "status": row.status, "reason": row.reason,
        "x": joints[:, 0], "y": joints[:, 1], "confidence": np.nan_to_num(joints[:, 2]), "people": people,
        "estimator": estimator, "checkpoint": checkpoint, "accepted": verdict == filtering.ACCEPTED,
        "verdict": verdict,
    }  # fmt: skip
