"""Published figures to stand beside: ``published.csv``, a line each.

Its columns: layout (of the data), system, source, table, metric (as tables title it), variant (our name of it where it
is the same, else what is known of it), value, comparable (yes: the same variant on the same 12,000 pairs).
"""

from functools import cache
from pathlib import Path

import pandas as pd

from augment.config import Config

PAIRS = 12_000  # of the published lists
# title in published tables -> our metric, or the nearest to it
METRICS_IN_TABLES = {
    "SSIM": "ssim_released", "mask-SSIM": "mask_ssim_released", "IS": "inception_score",
    "mask-IS": "mask_inception_score", "DS": "detection_score_ssd300_coco", "LPIPS": "lpips_alex", "FID": "fid",
}  # fmt: skip
_SYSTEMS = {"baseline": "the paper's Baseline", "dsc": "the paper's DSC", "percloss": "the paper's PercLoss",
            "full": "the paper's Full"}  # fmt: skip


def published(layout: str) -> pd.DataFrame:
    """The lines of a data set, in the order of the file."""
    table = _file()
    return table[table["layout"] == layout]


def on_published_pairs(config: Config, pairs: int) -> bool:
    """Whether that many measured pairs are those of the published list, so that figures can be compared at all."""
    return config.pairs.test_pairs_file is not None and pairs >= PAIRS


def figure_of(layout: str, system: str, metric: str) -> float | None:
    """A comparable figure of one of the paper's systems by ``gan.system``; None where there is none."""
    table = published(layout)
    found = table[(table["system"] == _SYSTEMS[system]) & (table["variant"] == metric) & table["comparable"]]
    return None if found.empty else float(found["value"].iloc[0])


@cache
def _file() -> pd.DataFrame:
    table = pd.read_csv(Path(__file__).with_name("published.csv"), keep_default_na=False)
    return table.assign(comparable=table["comparable"] == "yes")
