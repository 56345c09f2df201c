"""The filter of generated images: which are kept for training, by their scores, and the verdict on the others."""

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.base.progress import say
from augment.config import FilterConfig

NAMES = {
    "similarity": "unlike its source", "margin": "like another person", "pose": "not in the target pose",
    "person": "no clear person", "sharpness": "blurred",
}  # fmt: skip
NOT_AMONG_BEST = "not among the best of its source"


def filtered(made: pd.DataFrame, scores: pd.DataFrame, section: FilterConfig) -> pd.DataFrame:
    """Rows of the table of generated images with ``kept`` and ``verdict`` by the filter.

    ``scores``: rows of the table of scores. Images that are not kept anyway (in their source's own pose, failed) are
    unchanged. A verdict is a reason, common to many images, and after a colon the values of this image.
    """
    made = made.set_index("id", drop=False)
    scores = scores.set_index("id").reindex(made.index[made["kept"].eq(True)])
    verdict = pd.Series("", index=scores.index)
    for name, words in NAMES.items():
        least = getattr(section, name)
        if least is not None:
            low = ~(scores[name] >= least) & (verdict == "")
            verdict[low] = [f"{words}: {name} {value:.3f}, at least {least:g}" for value in scores.loc[low, name]]
    if section.share is not None:
        left = scores.loc[verdict == "", section.by]
        source = made.loc[left.index, "source"]
        place = left.groupby(source).rank(method="first", ascending=False)
        best = np.ceil(section.share * left.groupby(source).transform("size") - 1e-9)
        low = left.index[~(place <= best)]  # an unknown score is not ranked
        verdict[low] = [f"{NOT_AMONG_BEST}: {section.by} {value:.3f}" for value in left[low]]
    made.loc[verdict.index, "kept"] = verdict == ""
    made.loc[verdict.index, "verdict"] = verdict
    return made.reset_index(drop=True)


def reasons(made: pd.DataFrame) -> dict[str, int]:
    """The reasons for not keeping images, without the values: number of images by reason, most frequent first."""
    left_out = made.loc[(made["status"] == "ok") & made["kept"].ne(True), "verdict"]
    return left_out.astype(str).str.split(":").str[0].value_counts().to_dict()


def report_kept(made: pd.DataFrame) -> None:
    """Report how many are kept and why the others are not. Raises :class:`AugmentError` where none is kept."""
    kept, total = int(made["kept"].eq(True).sum()), int(made["rank"].notna().sum())
    why = "; ".join(f"{count:,} {reason}" for reason, count in reasons(made).items())
    if not kept:
        raise AugmentError(f"synthesis.filter leaves none of {total:,} images ({why}). Lower its thresholds.")
    say(f"synthetic: the filter keeps {kept:,} of {total:,} images" + (f"; left out: {why}." if why else "."))
