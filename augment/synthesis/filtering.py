"""Which of the generated images are good enough to train on, by their scores, and in words why the others are not."""

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.base.progress import say
from augment.config import FilterConfig

NAMES = {
    "similarity": "little like its source", "margin": "like another person", "pose": "not in the pose asked for",
    "person": "hardly a person", "sharpness": "blurred",
}  # fmt: skip
NOT_AMONG_BEST = "not among the best of its source"


def filtered(made: pd.DataFrame, scores: pd.DataFrame, section: FilterConfig) -> pd.DataFrame:
    """Rows of the table of generated images with ``kept`` and ``verdict`` as the filter would have them.

    ``scores``: rows of the table of scores. Images that are not kept anyway (redrawn in their own pose, failed) stay as
    they are. The verdict begins with a reason that many share; after a colon come this image's figures.
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
        low = left.index[~(place <= best)]  # an unknown score has no place
        verdict[low] = [f"{NOT_AMONG_BEST}: {section.by} {value:.3f}" for value in left[low]]
    made.loc[verdict.index, "kept"] = verdict == ""
    made.loc[verdict.index, "verdict"] = verdict
    return made.reset_index(drop=True)


def reasons(made: pd.DataFrame) -> dict[str, int]:
    """Why images are not kept, without their figures: how many of each, most first."""
    left_out = made.loc[(made["status"] == "ok") & made["kept"].ne(True), "verdict"]
    return left_out.astype(str).str.split(":").str[0].value_counts().to_dict()


def tell(made: pd.DataFrame) -> None:
    """Say how many are kept and why the others are not. Raises :class:`AugmentError` where none is."""
    kept, total = int(made["kept"].eq(True).sum()), int(made["rank"].notna().sum())
    why = "; ".join(f"{count:,} {reason}" for reason, count in reasons(made).items())
    if not kept:
        raise AugmentError(f"synthesis.filter leaves none of {total:,} images ({why}). Lower its thresholds.")
    say(f"synthetic: the filter keeps {kept:,} of {total:,} images" + (f"; left out: {why}." if why else "."))
