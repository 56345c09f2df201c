import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from augment.base.errors import AugmentError
from augment.config import PoseConfig
from augment.manifest import SCHEMAS
from augment.pose import filtering
from augment.pose.annotations import read_posegan_csv
from augment.pose.skeleton import INDEX, JOINTS


def pose(*missing):
    joints = np.ones((18, 2))
    for name in missing:
        joints[INDEX[name]] = np.nan
    return joints


@pytest.mark.parametrize(
    ("joints", "pid", "rule", "said"),
    [
        (pose(), 2, "torso", "ok"),
        (pose("nose", "right_wrist"), 2, "torso", "ok"),
        (pose("left_hip"), 2, "torso", "torso incomplete: left hip missing"),
        (pose("left_hip", "right_shoulder"), 2, "torso", "torso incomplete: right shoulder, left hip missing"),
        (pose("left_hip"), 2, "detected", "ok"),
        (pose(*JOINTS), 2, "detected", "no person found"),
        (pose(*JOINTS), 2, "torso", "no person found"),
        (pose(), 0, "torso", "distractor or junk identity"),
        (pose(), -1, "detected", "distractor or junk identity"),
    ],
)
def test_each_verdict(joints, pid, rule, said):
    assert filtering.verdict(joints, pid, rule) == said


@pytest.mark.market
@pytest.mark.parametrize(("part", "whole", "accepted"), [("train", 12_116, 12_116), ("test", 14_936, 12_344)])
def test_as_many_as_the_released_code_keeps(published, part, whole, accepted):
    """Its 14,936 test images have a torso; 2,592 of them are distractors and junk, which are in none of its pairs."""
    frame = read_posegan_csv(published[part])
    joints = np.stack([np.stack(frame["x"]), np.stack(frame["y"])], axis=2)
    pids = frame["name"].str.partition("_")[0].astype(int)
    assert sum(filtering.verdict(pose, 1, "torso") == "ok" for pose in joints) == whole
    verdicts = [filtering.verdict(pose, pid, "torso") for pose, pid in zip(joints, pids, strict=True)]
    assert verdicts.count("ok") == accepted


def table(found, total, people=1):
    rows = []
    for number in range(total):
        joints = pose() if number < found else pose(*JOINTS)
        rows.append({
            "id": f"train/{number}", "status": "ok", "x": joints[:, 0], "people": people,
            "verdict": filtering.verdict(joints, 1, "torso"),
        })  # fmt: skip
    return pd.DataFrame(rows), pd.Series(1, index=[row["id"] for row in rows])


def report(rows: pd.DataFrame, pids: pd.Series, section: PoseConfig) -> None:
    schema = pa.schema([SCHEMAS["poses"].field(name) for name in rows.columns])
    filtering.report(pa.Table.from_pandas(rows, schema, preserve_index=False), pids, section)


def test_the_report_counts_verdicts_and_joints(capsys):
    report(*table(found=3, total=4, people=2), PoseConfig())
    said = capsys.readouterr().err
    assert "poses: train: 4 images: 3 ok, 1 no person found" in said
    assert "right hip 75%" in said
    assert "4 images show several people" in said


@pytest.mark.parametrize(
    ("estimator", "advice"), [("annotations", "pose.annotations"), ("openpifpaf", "pose.checkpoint")]
)
def test_a_run_in_which_nobody_was_found_stops(estimator, advice):
    section = PoseConfig(estimator=estimator, minimum_detection_rate=0.5)
    with pytest.raises(AugmentError, match=r"found in only 10\.0% of 10 images.*minimum_detection_rate = 50%") as error:
        report(*table(found=1, total=10), section)
    assert advice in str(error.value)


def test_failed_images_and_nobodies_do_not_count_against_the_rate():
    frame, pids = table(found=2, total=4)
    frame.loc[2, "status"] = "failed"
    pids[frame.loc[3, "id"]] = 0
    report(frame, pids, PoseConfig(minimum_detection_rate=1.0))


def test_nothing_to_do():
    frame, pids = table(found=2, total=2)
    frame["status"] = "failed"
    with pytest.raises(AugmentError, match="has a readable image of a known person"):
        report(frame, pids, PoseConfig())
