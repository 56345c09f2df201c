"""The comparison of arms as a table of text, for the terminal and for Prefect's page."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from augment.base.errors import AugmentError, UsageError
from augment.config import Config, differences, load_config
from augment.manifest import read_manifest
from augment.pipeline.stages import stage_named
from augment.reid.arms import references, settings_of_arms
from augment.reid.summary import compare, difference_with_interval, pooled, split_measure
from augment.run import Run

_SHOWN = {"rank1": "rank-1", "rank5": "rank-5", "mAP": "mAP"}
# What changes no arm's accuracy: a key, or a section.
_NO_SETTING = ("name", "output", "flow", "report", "quality", "reid.seeds", "reid.arms")


def arms_cells(config: Config) -> list[list[str]]:
    """A header and a line per arm (and distance), in percent; differences are to its reference, paired by seed.

    Raises :class:`AugmentError` where the re-ID stage has not run.
    """
    return _cells(read_manifest(_metrics(config.folder), "metrics").frame(), config)


def pooled_cells(runs: Sequence[Path]) -> tuple[list[list[str]], list[str]]:
    """The same of several runs together, in which a run stands for a seed; and in words what varied between them.

    Raises :class:`UsageError` for a single run or one named twice, :class:`AugmentError` where they were not tested on
    the same queries.
    """
    if len(runs) < 2:
        raise UsageError("augment compare needs at least two runs; that of one run is in its report.")
    if len({run.resolve() for run in runs}) < len(runs):
        raise UsageError("the same run is given twice.")
    for run in runs:
        if not (run / "config.yaml").is_file():
            raise AugmentError(f"{run}: is not the folder of a run.")
    configs = [Run(run).config_as_made(load_config(run / "config.yaml")) for run in runs]
    tables = [read_manifest(_metrics(run), "metrics").frame() for run in runs]
    queries = [table.loc[table["metric"] == "queries", "value"].max() for table in tables]
    if len(set(queries)) > 1:
        raise AugmentError(f"the runs were tested on {min(queries):,.0f} to {max(queries):,.0f} queries. Compare runs "
                           "with the same test set.")  # fmt: skip
    seeds = sorted({table["seed"].nunique() for table in tables})
    plural = "seed" if seeds == [1] else "seeds"
    words = [f"{len(runs)} runs, each averaged over {' or '.join(map(str, seeds))} {plural}; intervals are over runs"]
    settings = [differences(config) for config in configs]
    for key in sorted({key for found in settings for key in found}):
        values = [found.get(key, "default") for found in settings]
        section, _, field = key.partition(".")
        of_every_run = not field.startswith("arms.") or all(field.split(".")[1] in c.reid.arms for c in configs)
        if of_every_run and not {section, key} & {*_NO_SETTING} and any(value != values[0] for value in values):
            words.append(f"{key} varied: {', '.join(map(str, values))}")
    return _cells(pooled(tables), configs[0], "run"), words if len(words) > 1 else [*words, "no setting varied"]


def _metrics(run: Path) -> Path:
    return stage_named("reid").path(run)


def _cells(metrics: pd.DataFrame, config: Config, unit: str = "seed") -> list[list[str]]:
    of_arms = references(config.reid)
    table = compare(metrics, list(settings_of_arms(config.reid)), references=of_arms, unit=unit)
    one_reference = len(set(of_arms.values())) == 1
    reference = next(iter(of_arms.values())) if one_reference else "reference"
    against = [f"{_SHOWN[name]} - {reference} [95 %]" for name in ("rank1", "mAP")]
    lines = []
    table["distance"] = [split_measure(measure)[1] for measure in table["measure"]]
    table["measure"] = [split_measure(measure)[0] for measure in table["measure"]]
    for (distance, arm), rows in table.groupby(["distance", "arm"], sort=False):
        row = rows.set_index("measure")
        differences = [difference_with_interval(*row.loc[name, ["difference", "low", "high"]])
                       for name in ("rank1", "mAP")]  # fmt: skip
        title = f"{arm}, {distance}" if distance else arm
        title += f" (reference: {rows['reference'].iloc[0]})" if rows["reference"].iloc[0] and not one_reference else ""
        lines.append([title, *(_cell(row.loc[name]) for name in _SHOWN), *differences, row.loc["mAP", "conclusion"]])
    compared = table["arm"].nunique() > 1
    header = ["%", *_SHOWN.values(), *against, "conclusion"]
    return [line if compared else line[:4] for line in [header, *lines]]


def _cell(row: pd.Series) -> str:
    return f"{row['mean']:.1f}" + (f" ± {row['deviation']:.1f}" if row["seeds"] > 1 else "")
