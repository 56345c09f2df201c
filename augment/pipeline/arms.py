"""The arms' figures as cells of text, for the terminal and for Prefect's page."""

from pathlib import Path

from augment.manifest import read_manifest
from augment.pipeline.stages import stage_named


def arms_cells(run: Path) -> list[list[str]]:
    """A header and one line a figure, in percent: each arm, and the difference with its spread over seeds.

    Raises :class:`AugmentError` where the re-ID stage has not run.
    """
    metrics = read_manifest(stage_named("reid").path(run), "metrics").frame()
    from augment.reid.stage import comparison_table  # brings torchreid with it

    table = comparison_table(metrics)
    columns = [name for name in table.columns if f"{name} ±" in table]
    header = ["%", *columns, *(["verdict"] if "verdict" in table else [])]
    lines = [[row["metric"], *(_cell(row, name) for name in columns), *([row["verdict"]] if "verdict" in row else [])]
             for row in table.to_dict("records")]  # fmt: skip
    return [header, *lines]


def _cell(row: dict, name: str) -> str:
    value = f"{row[name]:+.1f}" if name == "difference" else f"{row[name]:.1f}"
    spread = row[f"{name} ±"]
    return value if spread != spread else f"{value} ± {spread:.1f}"  # NaN: one seed has no spread
