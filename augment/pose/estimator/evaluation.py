"""Accuracy of an estimator: the percentage of correct key points (PCK) on crops with known joints."""

from pathlib import Path

import numpy as np
import pandas as pd

from augment.config import PoseConfig
from augment.pose.estimator.checkpoints import find_checkpoint
from augment.pose.estimator.labelled import load_examples
from augment.pose.estimator.predictor import Estimator
from augment.pose.skeleton import JOINTS, TORSO

_USUAL = PoseConfig()


def pck(predicted: np.ndarray, truth: np.ndarray, heights: np.ndarray, threshold: float) -> np.ndarray:
    """PCK of each joint (18,): the share of predictions within ``threshold`` times the crop's height of the truth.

    predicted, truth: (N, 18, 2), NaN missing; heights (N,) in the same pixels. Only known joints count; a joint that
    was not found counts as wrong. NaN for a joint that is never known.
    """
    known = ~np.isnan(truth).any(axis=2)
    distance = np.linalg.norm(predicted - truth, axis=2) / np.asarray(heights)[:, None]
    met = np.nan_to_num(distance, nan=np.inf) <= threshold
    count = known.sum(axis=0)
    return np.where(count > 0, (met & known).sum(axis=0) / np.maximum(count, 1), np.nan)


def evaluate_estimator(
    images: Path,
    annotations: Path,
    *,
    checkpoint: str = "crops",
    checkpoint_sha256: str | None = None,
    joint_confidence: float = _USUAL.joint_confidence,
    person_confidence: float = _USUAL.person_confidence,
    count: int | None = 1000,
    seed: int = 0,
    device: str = "auto",
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Measure a checkpoint on crops of the folder ``images`` whose joints are in a key point file.

    Joints and people below the confidences, the stage's by default, count as missing and so as wrong. Returns a table
    with a row per joint (joint, known, found, pck@0.1, pck@0.05) and the averages over joints, with the share of crops
    whose torso was found completely.
    """
    examples = load_examples(images, annotations, minimum=1, count=count, seed=seed)
    estimator = Estimator(
        find_checkpoint(checkpoint, checkpoint_sha256), device=device, joint_confidence=joint_confidence,
        person_confidence=person_confidence,
    )  # fmt: skip
    predicted = np.stack([pose.joints for pose in estimator.estimate([example.image for example in examples])])[..., :2]
    truth = np.stack([example.joints for example in examples])
    heights = np.array([example.image.shape[0] for example in examples])
    known, found = ~np.isnan(truth).any(axis=2), ~np.isnan(predicted).any(axis=2)
    table = pd.DataFrame({
        "joint": JOINTS,
        "known": known.sum(axis=0),
        "found": (found & known).sum(axis=0) / np.maximum(known.sum(axis=0), 1),
        "pck@0.1": pck(predicted, truth, heights, 0.1),
        "pck@0.05": pck(predicted, truth, heights, 0.05),
    })  # fmt: skip
    averages = {name: float(table[name].mean()) for name in ("found", "pck@0.1", "pck@0.05")}
    whole = float(found[:, TORSO].all(axis=1).mean())
    return table, averages | {"crops": float(len(examples)), "torso": whole}
