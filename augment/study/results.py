"""Results of a study: R2G, G2R and d' with 95 % intervals over users, and the error rate of each image.

Only users who finished their round count, and of their answers only those after the training.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from augment.base.intervals import ValueWithInterval, mean_over
from augment.manifest import read_manifest
from augment.study.protocol import EXPOSURE_MS

# Tab. 2: layout of the data -> system -> (R2G, G2R) in percent. Ma et al. asked Mechanical Turk, the paper 30 experts.
PUBLISHED = {
    "market1501": {"Ma et al.": (11.2, 5.5), "the paper's Full": (22.67, 50.24)},
    "deepfashion": {"Ma et al.": (9.2, 14.9), "the paper's Full": (12.42, 24.61)},
}
_TOLERANCE = 0.1  # of the exposure


@dataclass(frozen=True)
class Results:
    """The figures of a study; ``figures`` is empty until a user has finished."""

    users: int  # who finished
    unfinished: int  # who left before the end, or are still at it
    figures: Mapping[str, ValueWithInterval]  # "R2G" and "G2R" as shares, "d'"
    on_time: float  # share of the shown images whose exposure was within a tenth of what the protocol asks for
    images: pd.DataFrame  # one row a test image that was shown: stimulus, generated, shown (times), mistaken (share)


def read_results(folder: Path) -> Results:
    """The figures of a study's ``answers.parquet``. Raises :class:`AugmentError` where there is none."""
    trials = len(read_manifest(folder / "stimuli.parquet", "stimuli").table)
    return summarise(read_manifest(folder / "answers.parquet", "answers").frame(), trials)


def summarise(answers: pd.DataFrame, trials: int) -> Results:
    """The figures of an ``answers`` table; ``trials``: of a complete round, training included."""
    answered = answers.groupby("user").size()
    finished = answered.index[answered == trials]
    test = answers[answers["user"].isin(finished) & ~answers["training"]]
    test = test.assign(mistaken=test["generated"] != test["said_generated"])
    images = test.groupby(["stimulus", "generated"], as_index=False).agg(
        shown=("mistaken", "size"), mistaken=("mistaken", "mean")
    )
    figures = {}
    if len(finished):
        counts = test.groupby(["user", "generated"])["mistaken"].agg(["sum", "size"]).astype(float).unstack("generated")
        false_alarms, missed = counts["sum", False].to_numpy(), counts["sum", True].to_numpy()
        real, generated = counts["size", False].to_numpy(), counts["size", True].to_numpy()
        per_user = {
            "R2G": false_alarms / real,
            "G2R": missed / generated,
            "d'": sensitivity(missed, generated, false_alarms, real),
        }
        figures = {name: mean_over(np.arange(len(values)), values) for name, values in per_user.items()}
    on_time = float(np.mean(np.abs(test["shown_ms"] / EXPOSURE_MS - 1) <= _TOLERANCE)) if len(test) else math.nan
    return Results(len(finished), len(answered) - len(finished), figures, on_time, images)


def sensitivity(missed: np.ndarray, generated: np.ndarray, false_alarms: np.ndarray, real: np.ndarray) -> np.ndarray:
    """d' = z(hit rate) - z(false alarm rate) of each user (U,), a generated image being the signal.

    ``missed`` of the ``generated`` images were rated as real, ``false_alarms`` of the ``real`` ones as generated. Half
    an image is added to each count and one to each total (log-linear, Hautus 1995): rates of 0 and 1 stay finite.
    """
    hits = generated - missed
    return norm.ppf((hits + 0.5) / (generated + 1)) - norm.ppf((false_alarms + 0.5) / (real + 1))


def result_cells(results: Results) -> list[str]:
    """Users, R2G and G2R in percent, d': cells of a table, each with its interval."""
    return [str(results.users), *(_cell(results.figures.get(name), scale) for name, scale in _SCALES.items())]


_SCALES = {"R2G": 100, "G2R": 100, "d'": 1}


def _cell(estimate: ValueWithInterval | None, scale: int) -> str:
    if estimate is None:
        return "–"
    places = 1 if scale == 100 else 2
    mean, low, high = (f"{scale * bound:.{places}f}" for bound in estimate)
    return mean if math.isnan(estimate.low) else f"{mean} [{low}, {high}]"
