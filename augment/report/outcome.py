"""What came of it: accuracy with and without synthetic images, and retrieval strips to look at."""

from typing import Any

import numpy as np
import pandas as pd

from augment.config import Config
from augment.reid.summary import comparison_table, difference_with_interval
from augment.report.charts import Lane, Series, dot_chart, line_chart
from augment.report.pictures import data_uri, picture
from augment.report.published import REID
from augment.run import Run

ARM_COLOUR = {"real": 0, "augmented": 1}
ARM_NAME = {"real": "real images only", "augmented": "real + synthetic"}
_METRIC = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "rank20": "rank-20", "mAP": "mAP",
           "mAP_trapezoid": "mAP (trapezoid)", "mINP": "mINP"}  # fmt: skip


def arms(run: Run, config: Config) -> dict[str, Any] | None:
    """The table of arms, its most telling lines in words, and the single seeds as a chart."""
    if "reid" not in run.frames or run.frames["reid"].empty:
        return None
    metrics = run.frames["reid"]
    table = comparison_table(metrics)
    rows = table.to_dict("records")
    known = [arm for arm in ARM_NAME if arm in table]
    facts = metrics.pivot_table(index="metric", columns="arm", values="value", aggfunc="first")
    return {
        "arms": [(arm, ARM_NAME[arm]) for arm in known],
        "rows": [_row(row, known) for row in rows],
        "sentences": [_sentence(row) for row in rows if row["metric"] in ("rank1", "mAP") and len(known) == 2],
        "chart": _seeds_chart(metrics, known),
        "curves": _curves(run, metrics, known),
        "facts": _facts(facts, metrics, known),
        "published": REID.get(config.data.layout, ()),
    }


def _row(row: dict[str, Any], known: list[str]) -> dict[str, Any]:
    cells = [f"{row[arm]:.1f}{spread(row[f'{arm} ±'])}" for arm in known]
    both = len(known) == 2
    return {
        "metric": metric_name(row["metric"]),
        "cells": cells,
        "difference": difference_with_interval(row) if both else "",
        "verdict": row["verdict"] if both else "",
        "tone": _tone(row["verdict"]) if both else "",
    }


def _sentence(row: dict[str, Any]) -> dict[str, str]:
    """The line that is read first, in words."""
    seeds = int(row["seeds"])
    over = f" over {seeds} seeds" if seeds > 1 else ""
    return {
        "metric": metric_name(row["metric"]),
        "real": f"{row['real']:.1f}",
        "augmented": f"{row['augmented']:.1f}",
        "difference": f"{difference_with_interval(row)} points{over}",
        "verdict": row["verdict"],
        "tone": _tone(row["verdict"]),
    }


def _facts(facts: pd.DataFrame, metrics: pd.DataFrame, known: list[str]) -> list[str]:
    def of(metric: str, arm: str) -> int | None:
        value = facts.get(arm, pd.Series(dtype=float)).get(metric, np.nan)
        return None if np.isnan(value) else int(value)

    lines = []
    for arm in known:
        real, synthetic, iterations = (of(name, arm) for name in ("train_real", "train_synthetic", "iterations"))
        if real is not None:
            lines.append(
                f"{ARM_NAME[arm]}: {real:,} real and {synthetic or 0:,} synthetic images, {iterations:,} iterations"
            )
    queries = of("queries", known[0])
    if queries is not None:
        lines.append(f"{queries:,} queries")
    lines.append("seeds " + ", ".join(str(seed) for seed in sorted(metrics["seed"].unique())))
    return lines


def _seeds_chart(metrics: pd.DataFrame, known: list[str]) -> str:
    groups = []
    for metric in ("rank1", "mAP"):
        rows = metrics[metrics["metric"] == metric]
        lanes = [
            Lane(ARM_NAME[arm], [100 * value for value in rows[rows["arm"] == arm]["value"]], ARM_COLOUR[arm])
            for arm in known
        ]
        if all(lane.values for lane in lanes):
            groups.append((metric_name(metric), lanes))
    return dot_chart("Every seed of both arms", groups, "%")


def _curves(run: Run, metrics: pd.DataFrame, known: list[str]) -> list[str]:
    """Training curves of the first seed of each arm."""
    seed = metrics["seed"].min()
    series: dict[str, list[Series]] = {"loss": [], "accuracy": []}
    for arm in known:
        table = read_csv(run, f"reid/training-{arm}-s{seed}.csv")
        for column, lines in series.items():
            if table is not None and column in table:
                lines.append(Series(ARM_NAME[arm], table["iteration"].to_numpy(), table[column].to_numpy()))
    titles = {"loss": "Re-ID training loss", "accuracy": "Re-ID training accuracy, percent"}
    charts = [(titles[column], line_chart(titles[column], lines, "iteration")) for column, lines in series.items()]
    return [(title, chart) for title, chart in charts if chart]


def retrieval(run: Run, examples: int) -> dict[str, Any] | None:
    """Ranked answers to some queries, the arms of the first seed below each other."""
    if "reid" not in run.frames or run.frames["reid"].empty:
        return None
    seed = run.frames["reid"]["seed"].min()
    tables = {arm: read_csv(run, f"reid/retrieval-{arm}-s{seed}.csv") for arm in ARM_NAME}
    tables = {arm: table for arm, table in tables.items() if table is not None and len(table)}
    if not tables:
        return None
    queries = list(dict.fromkeys(next(iter(tables.values()))["query"]))[:examples]
    return {"seed": int(seed), "queries": [_answers(run, query, tables) for query in queries]}


def _answers(run: Run, query: str, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    strips = []
    for arm, table in tables.items():
        rows = table[table["query"] == query].sort_values("rank")
        hits = [
            {"src": data_uri(picture(run, "images", row.gallery)), "id": row.gallery, "right": bool(row.right)}
            for row in rows.itertuples()
        ]
        if hits:
            strips.append({"arm": ARM_NAME[arm], "hits": hits})
    return {"id": query, "src": data_uri(picture(run, "images", query)), "strips": strips}


def read_csv(run: Run, name: str) -> pd.DataFrame | None:
    """A table that a stage left beside its manifest; None where it is absent or empty, or not a table."""
    path = run.folder / name
    if not path.exists():
        stage, _, file = name.partition("/")
        if stage in run.manifests and file in run.manifests[stage].files:
            run.problems.append(f"{path}: is gone. The run's command, given again, makes it anew.")
        return None
    try:
        return pd.read_csv(path)
    except (ValueError, OSError) as error:
        run.problems.append(f"{path}: not readable as a table ({error}).")
        return None


def metric_name(metric: str) -> str:
    """A metric's name for people: ``mAP_trapezoid_xqda`` -> "mAP (trapezoid), xqda"."""
    for known in sorted(_METRIC, key=len, reverse=True):
        if metric == known:
            return _METRIC[known]
        if metric.startswith(known + "_"):
            return f"{_METRIC[known]}, {metric[len(known) + 1 :]}"
    return metric


def spread(value: float) -> str:
    """The part after a figure; nothing where one seed has no spread."""
    return "" if np.isnan(value) else f" ± {value:.1f}"


def _tone(verdict: str) -> str:
    return verdict if verdict in ("gain", "loss") else "even"
