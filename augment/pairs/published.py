"""A published list of test pairs: where it lies, and which of its pairs can be used."""

from pathlib import Path

import pandas as pd

from augment.base.errors import AugmentError
from augment.base.progress import say
from augment.config import environment_path
from augment.manifest import Manifest


def find_published(name: str, images: Manifest) -> Path:
    """A published list: as given, else in $MARKET1501_ANNOTATIONS, else beside the images' folder or its parent."""
    places = [Path(name)]
    if (annotations := environment_path("MARKET1501_ANNOTATIONS")) is not None:
        places.append(annotations / name)
    root = images.file_of(images.table["path"][0].as_py()).parent.parent
    places += [root / name, root.parent / name]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place.resolve()) for place in places)
    raise AugmentError(f"{name}: not found. Looked for {looked}. Set MARKET1501_ANNOTATIONS to its folder.")


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
