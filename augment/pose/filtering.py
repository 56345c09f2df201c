"""The filter of images by their poses (HPE): which are usable, and the reason for rejecting each of the others."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from augment.base.errors import AugmentError
from augment.base.progress import say
from augment.config import PoseConfig
from augment.manifest import joint_columns
from augment.pose.skeleton import JOINTS, TORSO

ACCEPTED = "ok"
NO_PERSON = "no person found"
NO_IDENTITY = "distractor or junk identity"
FAILED = "unreadable"


def verdict(joints: np.ndarray, pid: int, rule: str) -> str:
    """The filter's verdict on an image: "ok", or the reason for rejecting it.

    joints: (18, 2), NaN missing. rule "torso": both shoulders and both hips (released code); "detected": any joint
    (the paper's "no human body is detected"). Distractors (pid 0) and junk (-1) are rejected, whatever their pose.
    """
    if pid <= 0:
        return NO_IDENTITY
    missing = np.isnan(joints[:, :2]).any(axis=1)
    if missing.all():
        return NO_PERSON
    lost = [JOINTS[joint].replace("_", " ") for joint in TORSO if missing[joint]]
    if rule == "torso" and lost:
        return f"torso incomplete: {', '.join(lost)} missing"
    return ACCEPTED


def report(table: pa.Table, pids: pd.Series, section: PoseConfig) -> None:
    """Report how many images were accepted and why the others were not.

    table: rows of the poses table; pids: the identities of its images, in the same order. Raises
    :class:`AugmentError` where the detection rate, over readable images of known people, is below
    ``section.minimum_detection_rate``.
    """
    names = pa.table({
        "split": pc.replace_substring_regex(table["id"], "/.*", ""),
        "verdict": pc.replace_substring_regex(table["verdict"], "^(torso incomplete).*", r"\1"),
    })  # fmt: skip
    counts = names.group_by(["split", "verdict"]).aggregate([([], "count_all")]).to_pandas()
    counts = counts.sort_values(["count_all", "verdict"], ascending=[False, True])
    for split, rows in counts.groupby("split", sort=True):
        listed = ", ".join(f"{row.count_all} {row.verdict}" for row in rows.itertuples())
        say(f"poses: {split}: {rows['count_all'].sum()} images: {listed}")
    of_people = (table["status"].to_pandas() == "ok") & (np.asarray(pids) > 0)
    if not of_people.any():
        raise AugmentError("poses: none of pose.splits has a readable image of a known person.")
    present = ~np.isnan(joint_columns(table, "x")[of_people, :, 0])
    rates = zip(JOINTS, present.mean(axis=0), strict=True)
    say("poses: joints found: " + ", ".join(f"{name.replace('_', ' ')} {rate:.0%}" for name, rate in rates))
    several = int((table["people"].to_numpy()[of_people] > 1).sum())
    if several:
        say(f"poses: {several} images show several people; the pose is of the most prominent.")
    found = present.any(axis=1).mean()
    if found < section.minimum_detection_rate:
        raise AugmentError(
            f"poses: a person was found in only {found:.1%} of {len(present)} images, less than "
            f"pose.minimum_detection_rate = {section.minimum_detection_rate:.0%}. {_advice(section)}"
        )


def _advice(section: PoseConfig) -> str:
    if section.estimator == "annotations":
        return "Check that pose.annotations names the key points of these images, with -1 only for missing joints."
    return (
        "Check that the images are upright crops of single people and that pose.checkpoint suits them; or provide key "
        "points with pose.estimator=annotations."
    )


