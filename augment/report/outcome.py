"""What came of it: accuracy with and without synthetic images, and retrieval strips to look at."""

from typing import Any

import numpy as np
import pandas as pd

from augment.config import Config, ReidConfig
from augment.reid.arms import at_length, references, settings_of_arms, uses_synthetic
from augment.reid.published import published
from augment.reid.summary import compare, difference_with_interval, split_measure
from augment.report.charts import COLOURS, Interval, Lane, Series, dot_chart, forest_chart, line_chart
from augment.report.data_set import published_layout
from augment.report.pictures import data_uri, picture
from augment.run import Run

_METRIC = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "rank20": "rank-20", "mAP": "mAP",
           "mAP_trapezoid": "mAP (trapezoid)", "mINP": "mINP"}  # fmt: skip
# the paper's systems: the loss, and the distances that rank alike
_TABLE_4 = {
    "IDE + Euclidean": ("softmax", ("euclidean", "cosine")), "IDE + XQDA": ("softmax", ("xqda",)),
    "IDE + KISSME": ("softmax", ("kissme",)),
    "discriminative embedding": ("verification", ("euclidean", "cosine")),
}  # fmt: skip


def arms(run: Run, config: Config) -> dict[str, Any] | None:
    """The table of arms, its most telling lines in words, and the differences and single seeds as charts."""
    if "reid" not in run.frames or run.frames["reid"].empty:
        return None
    metrics = run.frames["reid"]
    known = [arm for arm in settings_of_arms(config.reid) if arm in set(metrics["arm"])]
    known += sorted(set(metrics["arm"]) - set(known))  # of an earlier configuration
    of_arms = references_of(config, known)
    table = compare(metrics, known, run.folder / "reid", of_arms)
    of_map = table[table["measure"] == "mAP"].set_index("arm")
    return {
        "arms": [arm_name(arm) for arm in known],
        "trained_on": _trained_on(run),
        "rows": [_row(measure, rows.set_index("arm"), known) for measure, rows in table.groupby("measure", sort=False)],
        "differences": [_difference_row(arm, table) for arm in of_arms],
        "reference": arm_name(known[0]) if len(set(of_arms.values())) < 2 else "its reference",
        "sentences": _sentences(table, next(iter(of_arms), None)),
        "forest": _forest(of_map, list(of_arms)),
        "chart": _seeds_chart(metrics, known),
        "lengths": _length_charts(of_map, config.reid, of_arms),
        "curves": _curves(run, metrics, known),
        "facts": _facts(metrics, known),
        "published": _published(table, config, published_layout(run, config)),
    }


def _trained_on(run: Run) -> str:
    if "images" not in run.manifests:
        return "images of which there is no table"
    rows = run.manifests["images"].columns("split", "pid", "status").to_pandas()
    train = rows[(rows["split"] == "train") & (rows["status"] == "ok") & (rows["pid"] > 0)]
    return f"{len(train):,} images of {train['pid'].nunique():,} people"


def references_of(config: Config, arms: list[str]) -> dict[str, str]:
    """Each of the arms with results -> the one it is compared with; the first where that has none.

    The first, at any length, is compared with none.
    """
    configured, alone = references(config.reid), settings_of_arms(config.reid).keys() - references(config.reid).keys()
    return {arm: other if (other := configured.get(arm)) in arms else arms[0] for arm in arms[1:] if arm not in alone}


def _published(table: pd.DataFrame, config: Config, layout: str) -> list[dict[str, str]]:
    """Published figures; beside those of the paper's Tab. 4 this run's (cells "ours_real" and "ours_augmented").

    They are of the first arm with that loss whose reference trains on real images alone, and of that reference.
    """
    settled, distances = settings_of_arms(config.reid), config.reid.distances
    means = table.set_index(["measure", "arm"])["mean"]
    rows = []
    for row in published(layout):
        row |= {"ours_real": "", "ours_augmented": ""}
        loss, alike = _TABLE_4.get(row["system"], ("", ()))
        suffixes = [f"_{name}" if place else "" for place, name in enumerate(distances) if name in alike]
        for arm, other in references(config.reid).items() if suffixes else ():
            same_loss = settled[arm].loss == settled[other].loss == loss
            if same_loss and uses_synthetic(settled[arm]) and not uses_synthetic(settled[other]):
                row["ours_real"], row["ours_augmented"] = (
                    _accuracies(means, name, suffixes[0]) for name in (other, arm)
                )
                break
        rows.append(row)
    return rows


def _accuracies(means: pd.Series, arm: str, suffix: str) -> str:
    found = [means.get((f"{measure}{suffix}", arm)) for measure in ("rank1", "mAP")]
    return "" if None in found else "{:.1f} / {:.1f}".format(*found)


def arm_name(arm: str) -> str:
    """An arm's name for people."""
    return arm.replace("_", " ")


def _row(measure: str, rows: pd.DataFrame, known: list[str]) -> dict[str, Any]:
    cells = [f"{rows.loc[arm, 'mean']:.1f}{spread(rows.loc[arm, 'deviation'])}" if arm in rows.index else ""
             for arm in known]  # fmt: skip
    return {"metric": metric_name(measure), "cells": cells}


def _difference_row(arm: str, table: pd.DataFrame) -> dict[str, Any]:
    rows = table[table["arm"] == arm].set_index("measure")
    columns = ["difference", "low", "high"]
    cells = {name: difference_with_interval(*rows.loc[name, columns]) for name in ("mAP", "rank1")}
    of_map = rows.loc["mAP"]
    queries = "" if np.isnan(of_map["query_low"]) else f"[{of_map['query_low']:.1f}, {of_map['query_high']:.1f}]"
    return {"arm": arm_name(arm), "reference": arm_name(of_map["reference"]), **cells, "queries": queries,
            "seeds": int(of_map["paired"]),
            "conclusion": of_map["conclusion"], "tone": _tone(of_map["conclusion"])}  # fmt: skip


def _sentences(table: pd.DataFrame, arm: str | None) -> list[dict[str, str]]:
    """The lines that are read first, in words: an arm beside its reference."""
    if arm is None:
        return []
    sentences = []
    for measure in ("rank1", "mAP"):
        rows = table[table["measure"] == measure].set_index("arm")
        second = rows.loc[arm]
        first = rows.loc[second["reference"]]
        seeds = int(second["paired"])
        over = f" over {seeds} seeds" if seeds > 1 else ""
        difference = difference_with_interval(*second[["difference", "low", "high"]])
        sentences.append({
            "metric": metric_name(measure), "from": f"{first['mean']:.1f}", "to": f"{second['mean']:.1f}",
            "difference": f"{difference} points{over}", "conclusion": second["conclusion"],
            "tone": _tone(second["conclusion"]),
        })  # fmt: skip
    return sentences


def _forest(of_map: pd.DataFrame, compared: list[str]) -> str:
    """Each arm's difference in mAP with both intervals."""
    rows = [
        Interval(arm_name(arm), row["difference"], (row["low"], row["high"]), (row["query_low"], row["query_high"]))
        for arm, row in of_map.loc[compared].iterrows()
        if not np.isnan(row["difference"])
    ]
    others = {arm_name(other) for other in of_map.loc[compared, "reference"]}
    reference = others.pop() if len(others) == 1 else "each arm's reference"
    return forest_chart(f"Difference in mAP to {reference}, points", rows)


def _length_charts(of_map: pd.DataFrame, section: ReidConfig, of_arms: dict[str, str]) -> list[tuple[str, str]]:
    """mAP and its difference to the reference against the length of the training; none where all are of one length."""
    settled = settings_of_arms(section)
    accuracy, difference = [], []
    for place, name in enumerate(section.arms):
        names = dict.fromkeys(at_length(section, name, length) for length in (section.iterations, *section.lengths))
        rows = of_map.loc[[arm for arm in names if arm in of_map.index]]
        rows = rows.assign(iterations=[settled[arm].iterations for arm in rows.index]).sort_values("iterations")
        if len(rows) < 2:
            continue
        mean, deviation = rows["mean"], rows["deviation"]
        title, x = arm_name(name), rows["iterations"]
        accuracy.append(Series(title, x, mean, mean - deviation, mean + deviation, place))
        if name in of_arms:
            difference.append(Series(title, x, rows["difference"], rows["low"], rows["high"], place))
    titles = {"mAP by length of the training, percent": accuracy, "Difference in mAP by length, points": difference}
    return [(title, line_chart(title, lines, "iterations")) for title, lines in titles.items() if lines]


def _facts(metrics: pd.DataFrame, known: list[str]) -> list[str]:
    facts = metrics.pivot_table(index="metric", columns="arm", values="value", aggfunc="first")
    lines = []
    for arm in known:
        counts = facts[arm]
        if "train_real" in counts:
            lines.append(
                f"{arm_name(arm)}: {counts['train_real']:,.0f} real and {counts['train_synthetic']:,.0f} other images, "
                f"{counts['iterations']:,.0f} iterations"
            )
    if "queries" in facts.index:
        lines.append(f"{facts.loc['queries', known[0]]:,.0f} queries")
    lines.append("seeds " + ", ".join(str(seed) for seed in sorted(metrics["seed"].unique())))
    return lines


def _seeds_chart(metrics: pd.DataFrame, known: list[str]) -> str:
    groups = []
    for metric in ("rank1", "mAP"):
        rows = metrics[metrics["metric"] == metric]
        lanes = [
            Lane(arm_name(arm), [100 * value for value in rows[rows["arm"] == arm]["value"]], place % COLOURS)
            for place, arm in enumerate(known)
        ]
        if all(lane.values for lane in lanes):
            groups.append((metric_name(metric), lanes))
    return dot_chart("Every seed of every arm", groups, "%")


def _curves(run: Run, metrics: pd.DataFrame, known: list[str]) -> list[str]:
    """Training curves of the first seed of each arm."""
    seed = metrics["seed"].min()
    series: dict[str, list[Series]] = {"loss": [], "accuracy": []}
    for arm in known:
        table = read_csv(run, f"reid/training-{arm}-s{seed}.csv")
        for column, lines in series.items():
            if table is not None and column in table:
                lines.append(Series(arm_name(arm), table["iteration"].to_numpy(), table[column].to_numpy()))
    titles = {"loss": "Re-ID training loss", "accuracy": "Re-ID training accuracy, percent"}
    charts = [(titles[column], line_chart(titles[column], lines, "iteration")) for column, lines in series.items()]
    return [(title, chart) for title, chart in charts if chart]


def retrieval(run: Run, config: Config, examples: int) -> dict[str, Any] | None:
    """Ranked answers to some queries, the first two arms of the first seed below each other."""
    if "reid" not in run.frames or run.frames["reid"].empty:
        return None
    seed = run.frames["reid"]["seed"].min()
    tables = {arm: read_csv(run, f"reid/retrieval-{arm}-s{seed}.csv") for arm in list(config.reid.arms)[:2]}
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
            strips.append({"arm": arm_name(arm), "hits": hits})
    return {"id": query, "src": data_uri(picture(run, "images", query)), "strips": strips}


def read_csv(run: Run, name: str) -> pd.DataFrame | None:
    """A table that a stage left beside its manifest; None where it is absent or empty, or not a table."""
    path = run.folder / name
    if not path.exists():
        stage, _, file = name.partition("/")
        if stage in run.manifests and file in run.manifests[stage].files:
            run.problems.append(f"{path}: is missing. Run the same command again to recreate it.")
        return None
    try:
        return pd.read_csv(path)
    except (ValueError, OSError) as error:
        run.problems.append(f"{path}: not readable as a table ({error}).")
        return None


def metric_name(metric: str) -> str:
    """A metric's name for people: ``mAP_trapezoid_xqda`` -> "mAP (trapezoid), xqda"."""
    measure, distance = split_measure(metric)
    name = _METRIC.get(measure, measure)
    return f"{name}, {distance}" if distance else name


def spread(value: float) -> str:
    """The part after a figure; nothing where one seed has no spread."""
    return "" if np.isnan(value) else f" ± {value:.1f}"


def _tone(conclusion: str) -> str:
    return conclusion if conclusion in ("gain", "loss") else "even"
