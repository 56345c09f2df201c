"""Which images in new poses an arm takes."""

import numpy as np
import pandas as pd
import pytest

from augment.base.errors import AugmentError
from augment.manifest import write_manifest
from augment.pose.skeleton import INDEX
from augment.reid.poses import pose_distances, select, views


def pose(across: float, lift: float = 0.0) -> np.ndarray:
    """(18, 2): shoulders ``across`` pixels apart (the left one to the right of the right one), hips 20 below."""
    joints = np.full((18, 2), np.nan)
    for side, half in (("right", -across / 2), ("left", across / 2)):
        joints[INDEX[f"{side}_shoulder"]] = 30 + half, 20
        joints[INDEX[f"{side}_hip"]] = 30 + half, 40
        joints[INDEX[f"{side}_wrist"]] = 30 + half, 40 - lift
    return joints


def test_views_by_the_order_of_the_shoulders():
    lost = pose(10)
    lost[INDEX["left_hip"]] = np.nan
    assert views(np.stack([pose(10), pose(-10), pose(4.9), pose(-4.9), lost])).tolist() == [
        "front", "back", "profile", "profile", ""
    ]  # fmt: skip


def test_distance_is_of_the_joints_of_both_wherever_they_stand():
    moved = pose(10) + 7
    one_missing = pose(10)
    one_missing[INDEX["right_wrist"]] = np.nan
    lifted = pose(10)
    lifted[INDEX["left_wrist"]] -= (0, 6)  # of six joints: the mean moves by one
    nothing = np.full((18, 2), np.nan)
    found = pose_distances(np.stack([pose(10)] * 4), np.stack([moved, one_missing, lifted, nothing]))
    np.testing.assert_allclose(found, [0, 0, (5 * 1 + 5) / 6, np.inf])


@pytest.fixture
def tables(tmp_path):
    """Person 1 is seen from the front by camera 1 only, person 2 from front and back by cameras 1 and 2."""
    people = {"train/a": (1, 1, pose(10)), "train/b": (2, 1, pose(10)), "train/c": (2, 2, pose(-10, lift=9))}
    file = {"path": "x", "sha256": "", "width": 60, "height": 60, "status": "ok", "reason": ""}
    images = [{**file, "id": id, "split": "train", "pid": pid, "camid": camid, "sequence": 1, "frame": 1}
              for id, (pid, camid, _) in people.items()]  # fmt: skip
    poses = [{**file, "id": id, "x": joints[:, 0], "y": joints[:, 1], "confidence": np.ones(18), "people": 1,
              "estimator": "", "checkpoint": "", "accepted": True, "verdict": "ok"}
             for id, (_, _, joints) in people.items()]  # fmt: skip
    return [write_manifest(tmp_path / f"{kind}.parquet", kind, rows, {"digest": kind})
            for kind, rows in (("images", images), ("poses", poses))]  # fmt: skip


MADE = pd.DataFrame([("train/a", 1, 1, "train/b"), ("train/a", 1, 1, "train/c"), ("train/b", 2, 1, "train/c"),
                     ("train/b", 2, 1, "train/a")], columns=["source", "pid", "camid", "pose_source"])  # fmt: skip


def test_selections(tables):
    ways = ("other_camera", "missing_view", "nearer")
    chosen = {which: select(MADE, *tables, which).index.tolist() for which in ways}
    assert chosen == {"other_camera": [1, 2], "missing_view": [1], "nearer": [0, 3]}
    with pytest.raises(AugmentError, match="missing_view selects no synthetic image"):
        select(MADE[2:], *tables, "missing_view")
