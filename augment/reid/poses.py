"""Which of the generated images an arm uses, by their target poses."""

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.manifest import Manifest, joint_columns
from augment.pose.skeleton import INDEX

_PROFILE = 0.25  # a distance between the shoulders below this share of the torso's height is a profile view


def select(made: pd.DataFrame, images: Manifest, poses: Manifest, which: str) -> pd.DataFrame:
    """The rows of generated images that ``which`` (``ArmConfig.poses``) selects.

    other_camera: the target pose is from another camera than the source. missing_view: the target pose is a view
    (front, back or profile) of which the person has no training image. nearer: the half of each source's images whose
    target poses are nearest to the source's. Raises :class:`AugmentError` where none is left.
    """
    real = images.table.select(["id", "split", "pid", "camid"]).to_pandas().set_index("id")
    joints = joint_columns(poses.table, "x", "y")
    place = pd.Series(range(len(joints)), poses.table["id"].to_pandas())
    if which == "other_camera":
        wanted = made["pose_source"].map(real["camid"]) != made["camid"]
    elif which == "missing_view":
        view = pd.Series(views(joints), place.index)
        train = real[real["split"] == "train"].join(view.rename("view"), how="inner")
        seen = set(zip(train["pid"], train["view"], strict=True))
        target = zip(made["pid"], made["pose_source"].map(view), strict=True)
        wanted = [bool(of_pose) and (pid, of_pose) not in seen for pid, of_pose in target]
    else:
        scaled = joints / poses.table["height"].to_numpy()[:, None, None]
        source, target = (scaled[made[column].map(place)] for column in ("source", "pose_source"))
        distance = pd.Series(pose_distances(source, target), made.index).groupby(made["source"])
        wanted = distance.rank(method="first") <= np.ceil(distance.transform("size") / 2)
    chosen = made[wanted]
    if chosen.empty:
        raise AugmentError(f"poses: {which} selects no synthetic image. Choose other poses for the arm.")
    return chosen


def views(joints: np.ndarray) -> np.ndarray:
    """"front", "back" or "profile" of poses (N, 18, 2) by the order of the shoulders; "" where a joint is missing."""
    right, left = (joints[:, INDEX[f"{side}_shoulder"]] for side in ("right", "left"))
    hips = (joints[:, INDEX["right_hip"]] + joints[:, INDEX["left_hip"]]) / 2
    torso = np.linalg.norm((right + left) / 2 - hips, axis=1)
    across = left[:, 0] - right[:, 0]  # positive for a person who faces the camera
    view = np.where(across > 0, "front", "back").astype(object)
    view[np.abs(across) < _PROFILE * torso] = "profile"
    view[np.isnan(across) | np.isnan(torso)] = ""
    return view


def pose_distances(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean distance of the joints that both poses (N, 18, 2) have, each pose centred on them: (N,), inf without any."""
    both = np.isfinite(source).all(axis=2) & np.isfinite(target).all(axis=2)
    count = np.maximum(both.sum(axis=1), 1)

    def centred(pose: np.ndarray) -> np.ndarray:
        pose = np.where(both[:, :, None], pose, 0)
        return np.where(both[:, :, None], pose - pose.sum(axis=1, keepdims=True) / count[:, None, None], 0)

    distance = np.linalg.norm(centred(source) - centred(target), axis=2).sum(axis=1) / count
    return np.where(both.any(axis=1), distance, np.inf)
