"""Several runs side by side: accuracy of every arm, quality of every generator, settings in which they differ."""

from collections import Counter
from typing import Any

import pandas as pd

from augment.config import Config, differences
from augment.quality.arms import COPIED, REAL
from augment.quality.tables import Row, Table, by_metric, measured_pairs
from augment.reid.arms import settings_of_arms
from augment.reid.summary import compare, difference_with_interval
from augment.report.generator import quality_table
from augment.report.outcome import arm_name, references_of, spread
from augment.run import Run


def names(configs: list[Config]) -> list[str]:
    """What tells the runs apart: their names, with their folders where two have the same."""
    count = Counter(config.name for config in configs)
    return [config.name if count[config.name] == 1 else f"{config.name} ({config.folder})" for config in configs]


def overview(runs: list[Run], configs: list[Config], names: list[str]) -> dict[str, Any]:
    """What runs.html shows above the runs."""
    measured = [(name, run) for name, run in zip(names, runs, strict=True) if quality_table(run) is not None]
    pairs = {name: measured_pairs(run.frames["quality"]) for name, run in measured}
    tables = {name: run.manifests["pairs"].digest if "pairs" in run.manifests else name for name, run in measured}
    return {
        "reid": _reid(runs, configs, names),
        "quality": _quality(measured),
        "same_pairs": len({(tables[name], count) for name, count in pairs.items()}) <= 1,
        "pairs": [f"{name} {count:,}" for name, count in pairs.items()],
        "settings": _settings(configs, names),
    }


def _reid(runs: list[Run], configs: list[Config], names: list[str]) -> Table:
    rows = []
    for run, config, name in zip(runs, configs, names, strict=True):
        if "reid" not in run.frames or run.frames["reid"].empty:
            continue
        metrics = run.frames["reid"]
        known = [arm for arm in settings_of_arms(config.reid) if arm in set(metrics["arm"])]
        table = compare(metrics, known, references=references_of(config, known))
        for arm in dict.fromkeys(table["arm"]):
            of_arm = table[table["arm"] == arm].set_index("measure")
            cells = []
            for measure in ("rank1", "mAP"):
                row = of_arm.loc[measure]
                cells += [f"{row['mean']:.1f}{spread(row['deviation'])}",
                          difference_with_interval(*row[["difference", "low", "high"]])]  # fmt: skip
            rows.append(Row(f"{name}, {arm_name(arm)}", arm, [*cells, of_arm.loc["mAP", "conclusion"]]))
    return Table(["rank-1", "vs. reference", "mAP", "vs. reference", "conclusion"], rows)


def _quality(measured: list[tuple[str, Run]]) -> Table:
    """The generators of all runs, and once the sources handed back and the targets."""
    tables = []
    for place, (name, run) in enumerate(measured):
        table = quality_table(run)
        own = table[~table["arm"].isin([COPIED, REAL])]
        tables.append(own.assign(arm=name + ": " + own["arm"] if own["arm"].nunique() > 1 else name))
        if place == len(measured) - 1:
            tables.append(table[table["arm"].isin([COPIED, REAL])])
    return by_metric(pd.concat(tables)) if tables else Table([], [])


def _settings(configs: list[Config], names: list[str]) -> Table:
    changed = [differences(config) for config in configs]
    keys = sorted({key for some in changed for key in some} - {"name", "output"})
    rows = [Row(key, key, [str(some.get(key, "default")) for some in changed]) for key in keys]
    return Table(names, [row for row in rows if len(set(row.cells)) > 1])
