"""What the seeds say of two arms: means, paired differences with their 95 % t-interval, and a verdict where one is due.

mAP is the primary measure and alone gets a verdict; the others are shown with their intervals.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

PRIMARY = "mAP"
CONFIDENCE = 0.95
FEWEST = 3  # seeds for a verdict: two leave one degree of freedom, and an interval nine standard deviations wide
_MOST = 1000  # seeds that anyone could train


def comparison_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Rows of metrics -> one row a measure, in percent, arms side by side.

    Columns: metric; for each arm ``<arm>`` (mean over seeds) and ``<arm> ±`` (standard deviation); and where there
    are two arms ``difference`` (augmented less real, mean of the differences of equal seeds), ``low`` and ``high``
    (its 95 % interval, NaN for a single seed), ``seeds`` (how many had both arms) and ``verdict``, empty but for mAP.
    """
    accuracy = metrics[metrics["metric"].str.match(r"rank\d|mAP|mINP")]
    values = accuracy.pivot_table(index=["metric", "seed"], columns="arm", values="value") * 100
    arms = [arm for arm in ("real", "augmented") if arm in values]
    rows = []
    for metric in sorted(accuracy["metric"].unique(), key=_display_order):
        of_metric = values.loc[metric]
        row: dict[str, object] = {"metric": metric}
        for arm in arms:
            row |= {arm: of_metric[arm].mean(), f"{arm} ±": of_metric[arm].std()}
        if len(arms) == 2:
            differences = (of_metric["augmented"] - of_metric["real"]).dropna().to_numpy()
            low, high = t_interval(differences)
            row |= {"difference": differences.mean() if len(differences) else math.nan, "low": low, "high": high}
            row |= {"seeds": len(differences), "verdict": verdict(differences) if metric == PRIMARY else ""}
        rows.append(row)
    return pd.DataFrame(rows)


def difference_with_interval(row: Mapping[str, Any]) -> str:
    """A row of :func:`comparison_table` in words: ``+5.8 [5.5, 6.1]``; a single seed has no interval."""
    interval = "" if math.isnan(row["low"]) else f" [{row['low']:.1f}, {row['high']:.1f}]"
    return f"{row['difference']:+.1f}{interval}"


def t_interval(differences: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's interval for the mean of differences (N,); NaN for fewer than two."""
    if len(differences) < 2:
        return math.nan, math.nan
    half = _half_width(differences.std(ddof=1), len(differences), confidence)
    return float(differences.mean() - half), float(differences.mean() + half)


def verdict(differences: np.ndarray) -> str:
    """"gain" or "loss" where the interval of the paired differences (N,) excludes 0, else why there is none."""
    count = len(differences)
    if count < FEWEST:
        return f"no verdict: {count} {'seed' if count == 1 else 'seeds'}, at least {FEWEST} are needed"
    low, high = t_interval(differences)
    if low > 0:
        return "gain"
    if high < 0:
        return "loss"
    return f"not shown, needs {seeds_needed(differences.mean(), differences.std(ddof=1))}"


def seeds_needed(mean: float, deviation: float) -> str:
    """How many seeds would show a difference of this mean and deviation, in words."""
    for count in range(FEWEST, _MOST + 1):
        if abs(mean) > _half_width(deviation, count, CONFIDENCE):
            return f"about {count} seeds"
    return f"more than {_MOST} seeds"


def _half_width(deviation: float, count: int, confidence: float) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, count - 1) * deviation / math.sqrt(count))


def _display_order(metric: str) -> tuple[str, int]:
    name, _, variant = metric.partition("_")
    if variant == "trapezoid" or variant.startswith("trapezoid_"):
        name, variant = "mAP_trapezoid", variant.removeprefix("trapezoid").removeprefix("_")
    order = ["rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid", "mINP"]
    return variant, order.index(name)
