"""Published re-ID figures with and without synthetic images: ``published.csv``, a line each.

Its columns: layout (of the data), system, source, rank-1 and mAP of both trainings in percent, comparable, remark. None
is comparable with ours: networks and trainings differ.
"""

from functools import cache
from pathlib import Path

import pandas as pd


def published(layout: str) -> list[dict[str, str]]:
    """The lines of a data set as cells of text: system, source with the remark, rank-1 / mAP of both trainings."""
    table = _file()
    return [
        {
            "system": row.system, "source": "; ".join(filter(None, (row.source, row.remark))),
            "real": _pair(row.real_rank1, row.real_mAP), "augmented": _pair(row.augmented_rank1, row.augmented_mAP),
        }
        for row in table[table["layout"] == layout].itertuples()
    ]  # fmt: skip


def _pair(rank1: str, mean_precision: str) -> str:
    return f"{rank1 or '–'} / {mean_precision}" if mean_precision else ""


@cache
def _file() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).with_name("published.csv"), dtype=str, keep_default_na=False)
