"""Which images are good enough to work with, and for each of the others, why not."""

from collections import Counter

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.base.progress import say
from augment.config import PoseConfig
from augment.pose.skeleton import JOINTS, TORSO

ACCEPTED = "ok"
NO_PERSON = "no person found"
NO_IDENTITY = "distractor or junk identity"
FAILED = "image failed"


def verdict(joints: np.ndarray, pid: int, rule: str) -> str:
    """Verdict on one image: "ok", or the reason for rejecting it.

    joints: (18, 2), NaN missing. rule "torso": both shoulders and both hips (released code); "detected": any joint
    (the paper's "no human body is detected"). Distractors (pid 0) and junk (-1) are nobody, whatever their pose.
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


def report(poses: pd.DataFrame, pids: pd.Series, section: PoseConfig) -> None:
    """Say how many images passed and why the others did not; stop where almost nobody was found.

    poses: rows of the poses table; pids: identity by image id. Raises :class:`AugmentError` below
    ``section.minimum_detection_rate``, counted over readable images of known people.
    """
    for split, rows in poses.groupby(poses["id"].str.partition("/")[0], sort=True):
        counts = Counter(_short(verdict) for verdict in rows["verdict"])
        listed = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        say(f"poses: {split}: {len(rows)} images: {listed}")
    people = poses[(poses["status"] == "ok") & (poses["id"].map(pids) > 0)]
    if people.empty:
        raise AugmentError("poses: no readable image of a known person in any of pose.splits: there is nothing to do.")
    present = ~np.isnan(np.stack(people["x"].to_numpy()))
    rates = zip(JOINTS, present.mean(axis=0), strict=True)
    say("poses: joints found: " + ", ".join(f"{name.replace('_', ' ')} {rate:.0%}" for name, rate in rates))
    several = int((people["people"] > 1).sum())
    if several:
        say(f"poses: {several} images show several people; the one who fills the crop was taken.")
    found = present.any(axis=1).mean()
    if found < section.minimum_detection_rate:
        raise AugmentError(
            f"poses: a person was found in only {found:.1%} of {len(people)} images, less than "
            f"pose.minimum_detection_rate = {section.minimum_detection_rate:.0%}. {_advice(section)}"
        )


def _short(verdict: str) -> str:
    return "torso incomplete" if verdict.startswith("torso incomplete") else verdict


def _advice(section: PoseConfig) -> str:
    if section.estimator == "annotations":
        return "Check that pose.annotations names the key points of these very images, with -1 only for missing joints."
    return (
        "Check that the images are upright crops of single people and that pose.checkpoint suits them; or bring key "
        "points of your own with pose.estimator=annotations."
    )


