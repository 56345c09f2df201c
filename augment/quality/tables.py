"""``table.csv`` as cells of text, for terminal and report: all metrics, paired differences, published figures."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from augment.quality.arms import COPIED, REAL
from augment.quality.published import METRICS_IN_TABLES, published
from augment.quality.registry import Metric, find_metric


class Row(NamedTuple):
    """A line: what it is about, its name in ``table.csv``, the cells, and a metric's source."""

    title: str
    name: str
    cells: list[str]
    source: str = ""


class Table(NamedTuple):
    """Titles of the columns after the first, and the lines."""

    columns: list[str]
    rows: list[Row]


def measured_pairs(metrics: pd.DataFrame) -> int:
    """The number of pairs in the stage's table of metrics."""
    return int(metrics.loc[metrics["metric"] == "pairs", "value"].max())


def by_metric(table: pd.DataFrame) -> Table:
    """A line each metric that was measured, a column each arm: value [95 % interval]."""
    arms = list(dict.fromkeys(table["arm"]))
    return Table(arms, _rows(table[table["value"].notna()], arms, ("value", "low", "high"), signed=False))


def differences(table: pd.DataFrame) -> Table:
    """The same for the paired differences to the first arm, of every other arm but the real targets."""
    _, *arms = [arm for arm in dict.fromkeys(table["arm"]) if arm != REAL]
    columns = ("difference", "difference_low", "difference_high")
    some = table[table["difference"].notna() & np.isfinite(table["difference"])]
    return Table(arms, _rows(some, arms, columns, signed=True))


def not_measured(table: pd.DataFrame) -> dict[str, list[str]]:
    """The line about each missing file -> titles of the metrics that wait for it."""
    lacking = table[table["missing"].fillna("") != ""].drop_duplicates("metric")
    found: dict[str, list[str]] = {}
    for name, line in zip(lacking["metric"], lacking["missing"], strict=True):
        metric = find_metric(name)
        found.setdefault(line, []).append(metric.title if metric else name)
    return found


def beside(table: pd.DataFrame, layout: str, same_pairs: bool) -> Table:
    """Our arms below the published systems of a data set, a line each; what cannot be compared is in brackets.

    ``same_pairs``: whether ours were measured on the published pairs; where not, nothing can be compared.
    """
    theirs = published(layout)
    titles = [title for title in METRICS_IN_TABLES if title in set(theirs["metric"])]
    rows = []
    for (system, source), lines in theirs.groupby(["system", "source"], sort=False):
        cells = {line.metric: _places(line.value, line.metric, line.comparable and same_pairs)
                 for line in lines.itertuples()}  # fmt: skip
        tables = ", ".join(dict.fromkeys(filter(None, lines["table"])))
        where = f"{source}, {tables}" if tables else source
        rows.append(Row(system, where, [cells.get(title, "") for title in titles]))
    for arm, lines in table.groupby("arm", sort=False):
        ours = {metric: _cell(*row, signed=False) for name, *row in
                lines[["metric", "value", "low", "high"]].itertuples(index=False)
                if (metric := _stem(name)) is not None and not math.isnan(row[0])}  # fmt: skip
        rows.append(Row(f"ours: {arm}" if arm not in (COPIED, REAL) else arm, "this run",
                        [ours.get(METRICS_IN_TABLES[title], "") for title in titles]))  # fmt: skip
    return Table(titles, rows)


def _rows(table: pd.DataFrame, arms: list[str], columns: tuple[str, str, str], signed: bool) -> list[Row]:
    rows = []
    for name in dict.fromkeys(table["metric"]):
        of_arm = table[table["metric"] == name].set_index("arm")
        cells = [_cell(*of_arm.loc[arm, list(columns)], signed=signed) if arm in of_arm.index else "" for arm in arms]
        metric = find_metric(name)
        rows.append(Row(_title(name), name, cells, metric.source if metric else ""))
    return rows


def _cell(value: float, low: float, high: float, signed: bool) -> str:
    """The figure with its interval, to the digits that suit the largest of the three."""
    size = max(abs(end) for end in (value, low, high) if not math.isnan(end))
    digits = ".3f" if 0.005 <= size < 10 or size == 0 else ".2f" if 10 <= size < 1000 else ".3g"
    text = f"{value:{'+' if signed else ''}{digits}}"
    if math.isnan(low) or low == high == value:
        return text
    return f"{text} [{low:{digits}}, {high:{digits}}]"


def _places(value: float, metric: str, comparable: bool) -> str:
    text = f"{value:.1f}" if metric == "FID" else f"{value:.3f}"
    return text if comparable else f"({text})"


def _title(name: str) -> str:
    metric = find_metric(name)
    return f"{metric.title} {_ARROWS[metric.better]}" if metric else name


def _stem(name: str) -> str | None:
    metric: Metric | None = find_metric(name)
    return metric.name.partition("{")[0] if metric else None


_ARROWS = {"higher": "↑", "lower": "↓"}
