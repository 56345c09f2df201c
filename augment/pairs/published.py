"""A published list of test pairs, reduced to those with accepted poses."""

from pathlib import Path

import pandas as pd

from augment.base.errors import AugmentError
from augment.base.progress import say


def read_published(file: Path, candidates: pd.DataFrame) -> pd.DataFrame:
    """A list of file names (columns ``from``, ``to``) -> those of its pairs with accepted poses, as image ids."""
    try:
        listed = pd.read_csv(file, dtype=str)
    except (OSError, ValueError) as error:
        raise AugmentError(f"{file}: cannot be read as a list of pairs: {error}") from None
    for column in ("from", "to"):
        if column not in listed:
            raise AugmentError(f"{file}: no column '{column}'; its first line must be 'from,to'.")
    accepted = candidates[candidates["accepted"]]
    ids = dict(zip(accepted["path"].str.rpartition("/")[2], accepted["id"], strict=True))
    pairs = pd.DataFrame({end: listed[end].map(ids) for end in ("from", "to")}).dropna()
    if pairs.empty:
        raise AugmentError(f"{file}: of its {len(listed)} pairs none has both images with an accepted pose here.")
    if len(pairs) < len(listed):
        say(f"pairs: {len(pairs)} of the {len(listed)} pairs in {file.name} have both images with an accepted pose.")
    return pairs
