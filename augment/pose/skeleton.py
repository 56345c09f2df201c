"""The 18 joints of OpenPose's COCO model, in its order, and how they relate to COCO's 17."""

import numpy as np

JOINTS = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip

INDEX = {name: index for index, name in enumerate(JOINTS)}

TORSO = tuple(INDEX[name] for name in ("right_shoulder", "left_shoulder", "right_hip", "left_hip"))

# The 17 of COCO's person, the output of openpifpaf and most other estimators: our 18 without the neck.
COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
COCO_MIRROR = (0, *(index + 1 if index % 2 else index - 1 for index in range(1, 17)))  # left and right alternate

# The 18 as indices into COCO's 17; the neck has none: it is the middle of COCO's shoulders, 5 and 6.
_TO_COCO = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_KEPT = [index for index in range(18) if index != INDEX["neck"]]
_COCO_OF_KEPT = [_TO_COCO[index] for index in _KEPT]


def from_coco(points: np.ndarray) -> np.ndarray:
    """COCO's joints (..., 17, 2 or 3: x, y[, confidence], NaN missing) -> ours (..., 18, 2 or 3).

    The neck is the midpoint of the shoulders, its confidence the lower of theirs; it is missing if either is.
    """
    joints = np.full((*points.shape[:-2], len(JOINTS), points.shape[-1]), np.nan, points.dtype)
    joints[..., _KEPT, :] = points[..., _COCO_OF_KEPT, :]
    left, right = points[..., 5, :], points[..., 6, :]
    joints[..., INDEX["neck"], :2] = (left[..., :2] + right[..., :2]) / 2
    joints[..., INDEX["neck"], 2:] = np.minimum(left[..., 2:], right[..., 2:])
    return joints


def to_coco(joints: np.ndarray) -> np.ndarray:
    """Ours (..., 18, C) -> COCO's (..., 17, C), in COCO's order; the neck is left out."""
    points = np.empty((*joints.shape[:-2], len(COCO_NAMES), joints.shape[-1]), joints.dtype)
    points[..., _COCO_OF_KEPT, :] = joints[..., _KEPT, :]
    return points
