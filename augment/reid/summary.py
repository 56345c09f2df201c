"""The comparison of arms over seeds: means, paired differences with their 95 % intervals, and conclusions.

mAP is the primary measure, the only one with a conclusion; the others have intervals only.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from augment.base.intervals import mean_over, t_interval

PRIMARY = "mAP"
MEASURES = ("rank1", "rank5", "rank10", "rank20", "mAP", "mAP_trapezoid", "mINP")
CONFIDENCE = 0.95
FEWEST = 3  # seeds for a conclusion: two leave one degree of freedom, and an interval nine standard deviations wide
_MOST = 1000  # seeds that anyone could train
_COLUMNS = ["measure", "arm", "reference", "mean", "deviation", "seeds", "difference", "low", "high", "paired",
            "conclusion", "query_low", "query_high"]  # fmt: skip


def compare(
    metrics: pd.DataFrame, arms: Sequence[str], folder: Path | None = None,
    references: Mapping[str, str] | None = None, unit: str = "seed",
) -> pd.DataFrame:  # fmt: skip
    """A row for each measure and arm, in percent, from rows of metrics.

    ``references``: arm -> the arm it is compared with; by default the first, for all others. ``unit``: what the column
    "seed" counts, for the conclusions. Columns: measure (``mAP``, or ``mAP_xqda`` of a further distance), arm,
    reference, mean, deviation (over seeds) and seeds; and for arms with a reference the paired difference: difference
    (mean over the seeds that both have), low and high (its t-interval), paired (seeds), conclusion (of mAP only). With
    the ``folder`` of the re-ID stage also query_low and query_high: the interval of the mAP's difference over the
    people of the queries.
    """
    arms = [arm for arm in arms if arm in set(metrics["arm"])]
    if references is None:
        references = dict.fromkeys(arms[1:], arms[0]) if arms else {}
    references = {arm: other for arm, other in references.items() if {arm, other} <= set(arms)}
    of_queries = query_intervals(metrics, references, folder) if folder is not None else {}
    rows = []
    for measure in sorted({name for name in metrics["metric"] if _is_measure(name)}, key=_display_order):
        values = metrics[metrics["metric"] == measure].pivot_table(index="seed", columns="arm", values="value") * 100
        differences = {arm: (values[arm] - values[other]).dropna().to_numpy() for arm, other in references.items()
                       if {arm, other} <= set(values)}  # fmt: skip
        conclusions = conclude(differences, unit) if measure == PRIMARY else {}
        for arm in arms:
            if arm not in values:
                continue
            differing = differences.get(arm, np.array([]))
            difference, low, high = t_interval(differing)
            row = {
                "measure": measure, "arm": arm, "reference": references.get(arm, ""),
                "mean": values[arm].mean(), "deviation": values[arm].std(),
                "seeds": values[arm].count(), "difference": difference,
                "low": low, "high": high, "paired": len(differing), "conclusion": conclusions.get(arm, ""),
                "query_low": math.nan, "query_high": math.nan,
            }  # fmt: skip
            if measure == PRIMARY and arm in of_queries:
                row["query_low"], row["query_high"] = of_queries[arm]
            rows.append(row)
    return pd.DataFrame(rows, columns=_COLUMNS)


def pooled(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Metrics of several runs -> one table in which a run, averaged over its seeds, stands for a seed.

    Seeds of one run share its subset, generator and synthetic images: only runs are independent of each other.
    """
    means = [table.groupby(["arm", "metric"], as_index=False)["value"].mean().assign(seed=run, run=str(run))
             for run, table in enumerate(tables)]  # fmt: skip
    return pd.concat(means, ignore_index=True)


def difference_with_interval(difference: float, low: float, high: float) -> str:
    """In words: ``+5.8 [5.5, 6.1]``; a single seed has no interval, and the reference no difference."""
    if math.isnan(difference):
        return ""
    return f"{difference:+.1f}" + ("" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]")


def conclude(differences: dict[str, np.ndarray], unit: str = "seed") -> dict[str, str]:
    """"gain" or "loss" for each arm with a significant difference, else the reason why it is not.

    A single arm: where the t-interval of its paired differences (N,) excludes 0. For several arms with Holm's
    correction (1979), so that the family-wise error rate is at most 5 %.
    """
    p_values = {arm: p_value(of_arm) for arm, of_arm in differences.items() if len(of_arm) >= FEWEST}
    shown: set[str] = set()
    for place, (arm, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p * (len(p_values) - place) >= 1 - CONFIDENCE:
            break
        shown.add(arm)
    return {arm: _conclusion(of_arm, arm in shown, len(p_values), unit) for arm, of_arm in differences.items()}


def _conclusion(differences: np.ndarray, shown: bool, arms: int, unit: str) -> str:
    count = len(differences)
    if count < FEWEST:
        return f"no conclusion: {count} {unit}{'' if count == 1 else 's'}, at least {FEWEST} are needed"
    if shown:
        return "gain" if differences.mean() > 0 else "loss"
    if p_value(differences) < 1 - CONFIDENCE:
        return f"not shown among {arms} arms (Holm)"
    return f"not shown, needs {seeds_needed(differences.mean(), differences.std(ddof=1))} {unit}s"


def p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of Student's t-test that the mean of differences (N,), N > 1, is 0."""
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    if error == 0:
        return 1.0 if differences.mean() == 0 else 0.0
    return float(2 * stats.t.sf(abs(differences.mean()) / error, len(differences) - 1))


def query_intervals(
    metrics: pd.DataFrame, references: Mapping[str, str], folder: Path
) -> dict[str, tuple[float, float]]:
    """Arm -> the bootstrap interval over people of its mAP less the reference's, averaged over seeds; in percent.

    Read from each run's ``<run>.json`` in ``folder``; an arm with a missing file is left out.
    """
    precision = {arm: _mean_precision(metrics, arm, folder) for arm in {*references, *references.values()}}
    intervals = {}
    for arm, reference in references.items():
        if precision[arm] is not None and precision[reference] is not None:
            difference = 100 * (precision[arm] - precision[reference]).dropna()
            people = difference.index.get_level_values("pid")
            intervals[arm] = mean_over(people.to_numpy(), difference.to_numpy())[1:]
    return intervals


def _mean_precision(metrics: pd.DataFrame, arm: str, folder: Path) -> pd.Series | None:
    """Each query's average precision by pid and id, mean over the arm's seeds."""
    runs = []
    for run in metrics.loc[metrics["arm"] == arm, "run"].unique():
        try:
            queries = json.loads((folder / f"{run}.json").read_text())["queries"]
        except (OSError, ValueError, KeyError):
            return None
        runs.append(pd.DataFrame(queries).set_index(["pid", "id"])["average_precision"])
    return pd.concat(runs, axis=1).mean(axis=1) if runs else None


def seeds_needed(mean: float, deviation: float) -> str:
    """How many seeds it takes until a difference of this mean and deviation is significant, in words."""
    enough = np.abs(mean) > deviation * _half_widths()
    return f"about {FEWEST + enough.argmax()}" if enough.any() else f"more than {_MOST}"


@cache
def _half_widths() -> np.ndarray:
    """Half-widths of the interval at deviation 1, for FEWEST, ..., _MOST seeds."""
    counts = np.arange(FEWEST, _MOST + 1)
    return stats.t.ppf((1 + CONFIDENCE) / 2, counts - 1) / np.sqrt(counts)


def _is_measure(metric: str) -> bool:
    return split_measure(metric)[0] in MEASURES


def split_measure(metric: str) -> tuple[str, str]:
    """``mAP_trapezoid_xqda`` -> ``mAP_trapezoid`` and ``xqda``; the first distance has no name."""
    for measure in sorted(MEASURES, key=len, reverse=True):
        if metric == measure or metric.startswith(measure + "_"):
            return measure, metric[len(measure) + 1 :]
    return metric, ""


def _display_order(metric: str) -> tuple[str, int]:
    measure, distance = split_measure(metric)
    return distance, MEASURES.index(measure)
