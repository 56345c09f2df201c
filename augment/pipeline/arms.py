"""The comparison of arms as a table of text, for the terminal and for Prefect's page."""

import pandas as pd

from augment.config import Config
from augment.manifest import read_manifest
from augment.pipeline.stages import stage_named
from augment.reid.summary import compare, difference_with_interval, split_measure

_SHOWN = {"rank1": "rank-1", "rank5": "rank-5", "mAP": "mAP"}


def arms_cells(config: Config) -> list[list[str]]:
    """A header and a line per arm (and distance), in percent; differences are to the first arm, paired by seed.

    Raises :class:`AugmentError` where the re-ID stage has not run.
    """
    path = stage_named("reid").path(config.folder)
    table = compare(read_manifest(path, "metrics").frame(), list(config.reid.arms))
    reference = table["arm"].iloc[0]
    against = [f"{_SHOWN[name]} - {reference} [95 %]" for name in ("rank1", "mAP")]
    lines = []
    table["distance"] = [split_measure(measure)[1] for measure in table["measure"]]
    table["measure"] = [split_measure(measure)[0] for measure in table["measure"]]
    for (distance, arm), rows in table.groupby(["distance", "arm"], sort=False):
        row = rows.set_index("measure")
        differences = [difference_with_interval(*row.loc[name, ["difference", "low", "high"]])
                       for name in ("rank1", "mAP")]  # fmt: skip
        title = f"{arm}, {distance}" if distance else arm
        lines.append([title, *(_cell(row.loc[name]) for name in _SHOWN), *differences, row.loc["mAP", "verdict"]])
    compared = table["arm"].nunique() > 1
    header = ["%", *_SHOWN.values(), *against, "verdict"]
    return [line if compared else line[:4] for line in [header, *lines]]


def _cell(row: pd.Series) -> str:
    return f"{row['mean']:.1f}" + (f" ± {row['deviation']:.1f}" if row["seeds"] > 1 else "")
