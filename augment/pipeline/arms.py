"""The arms' figures as cells of text, for the terminal and for Prefect's page."""

from pathlib import Path

from augment.manifest import read_manifest
from augment.pipeline.stages import stage_named
from augment.reid.summary import comparison_table, difference_with_interval


def arms_cells(run: Path) -> list[list[str]]:
    """A header and one line a figure, in percent: each arm, and the difference with its 95 % interval.

    Raises :class:`AugmentError` where the re-ID stage has not run.
    """
    metrics = read_manifest(stage_named("reid").path(run), "metrics").frame()
    table = comparison_table(metrics)
    columns = [name for name in table.columns if f"{name} ±" in table or name == "difference"]
    header = ["%", *columns, *(["verdict"] if "verdict" in table else [])]
    lines = [[row["metric"], *(_cell(row, name) for name in columns), *([row["verdict"]] if "verdict" in row else [])]
             for row in table.to_dict("records")]  # fmt: skip
    return [header, *lines]


def _cell(row: dict, name: str) -> str:
    if name == "difference":
        return difference_with_interval(row)
    spread = row[f"{name} ±"]
    return f"{row[name]:.1f}" if spread != spread else f"{row[name]:.1f} ± {spread:.1f}"  # NaN: of a single seed
