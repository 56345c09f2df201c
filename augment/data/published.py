"""Files that were published with a data set, key points or lists of pairs: where one lies."""

import os
from collections.abc import Sequence
from pathlib import Path

from augment.base.errors import AugmentError
from augment.config import environment_path
from augment.manifest import Manifest

VARIABLE = "MARKET1501_ANNOTATIONS"


def find_published(name: str, near: Sequence[Path], key: str) -> Path:
    """The file as named, else in ``$MARKET1501_ANNOTATIONS``, else in the folders ``near``.

    ``key`` is the configuration's name for it. Raises :class:`AugmentError` that lists where it was looked for.
    """
    folders = [Path(), *filter(None, [environment_path(VARIABLE)]), *near]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = ", ".join(dict.fromkeys(str(folder.resolve()) for folder in folders))
    raise AugmentError(
        f"{name}: no such file in {looked}. Give its full path in {key}, or set {VARIABLE} to the folder it lies in."
    )


def near_images(images: Manifest) -> list[Path]:
    """The folder that all images share, its parent and that one's: a single split lies below the data set's root."""
    folders = {images.file_of(path).parent for path in images.table["path"].to_pylist() if path}
    if not folders:
        return []
    common = Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))
    return [common, *common.parents[:2]]
