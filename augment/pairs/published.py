"""A published list of test pairs, reduced to those with accepted poses."""

from pathlib import Path

import pandas as pd

from augment.base.errors import AugmentError
from augment.base.progress import say


def read_published(file: Path, candidates: pd.DataFrame) -> pd.DataFrame:
    """A list of file names (columns ``from``, ``to``) -> those of its pairs with accepted poses, as image ids.

    ``candidates``: id, name in published files, pid and ``accepted`` of the images.

    Raises :class:`AugmentError` that names the line of what is no pair: an empty or repeated one, an image with itself,
    two people.
    """
    try:
        listed = pd.read_csv(file, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise AugmentError(f"{file}: cannot be read as a list of pairs: {error}") from None
    for column in ("from", "to"):
        if column not in listed:
            raise AugmentError(f"{file}: no column '{column}'; its first line must be 'from,to'.")
    _check(file, listed[["from", "to"]], candidates)
    accepted = candidates[candidates["accepted"]]
    ids = dict(zip(accepted["name"], accepted["id"], strict=True))
    pairs = pd.DataFrame({end: listed[end].map(ids) for end in ("from", "to")}).dropna()
    if pairs.empty:
        raise AugmentError(f"{file}: of its {len(listed)} pairs none has both images with an accepted pose here.")
    if len(pairs) < len(listed):
        say(f"pairs: {len(pairs)} of the {len(listed)} pairs in {file.name} have both images with an accepted pose.")
    return pairs


def _check(file: Path, listed: pd.DataFrame, candidates: pd.DataFrame) -> None:
    people = dict(zip(candidates["name"], candidates["pid"], strict=True))
    first, second = (listed[end].map(people) for end in ("from", "to"))
    for wrong, what in (
        ((listed == "").any(axis=1), "does not name two images"),
        (listed["from"] == listed["to"], "is an image with itself"),
        (first.notna() & second.notna() & (first != second), "shows two different people"),
        (listed.duplicated(), "is listed twice"),
    ):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise AugmentError(
                f"{file}, line {row + 2}: the pair {listed['from'][row]!r}, {listed['to'][row]!r} {what} "
                f"({wrong.sum()} such lines). Correct or remove them."
            )
