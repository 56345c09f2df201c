"""Where files that were published with a data set (key points, lists of pairs) are looked for."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from augment.base.errors import AugmentError
from augment.base.files import is_regular_file
from augment.config import environment_path
from augment.data.layouts import parse_deepfashion
from augment.manifest import Manifest

VARIABLE = "MARKET1501_ANNOTATIONS"


def find_published(name: str, near: Sequence[Path], key: str) -> Path:
    """The file ``name``, relative to the working directory, ``$MARKET1501_ANNOTATIONS`` or the folders ``near``.

    ``key``: its key in the configuration. Raises :class:`AugmentError` that lists the folders searched.
    """
    folders = [Path(), *filter(None, [environment_path(VARIABLE)]), *near]
    for folder in folders:
        if is_regular_file(folder / name):
            return folder / name
    looked = ", ".join(dict.fromkeys(str(folder.resolve()) for folder in folders))
    raise AugmentError(
        f"{name}: no such file in {looked}. Give its full path in {key}, or set {VARIABLE} to its folder."
    )


def published_names(ids: Iterable[str], paths: Iterable[str]) -> list[str]:
    """The names of images in published files: those of their files.

    DeepFashion's original tree has files like ``01_1_front.jpg`` in many folders; there it is the authors' flat name,
    which is the id.
    """
    return [_flat_name(id, path) or os.path.basename(path) for id, path in zip(ids, paths, strict=True)]


def _flat_name(id: str, path: str) -> str | None:
    name = id.rpartition("/")[2] + os.path.splitext(path)[1]
    return name if parse_deepfashion(name) else None


def near_images(images: Manifest) -> list[Path]:
    """The folder that all images share, its parent and grandparent: a single split is below the data set's root."""
    folders = {os.path.dirname(path) for path in images.columns("path")["path"].to_pylist() if path}
    if not folders:
        return []
    common = Path(os.path.commonpath([os.path.abspath(images.file_of(folder)) for folder in folders]))
    return [common, *common.parents[:2]]
