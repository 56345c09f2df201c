"""Layouts of data sets: folders and file names of Market-1501 and of DeepFashion's in-shop part.

Identity and camera are parsed from base names alone, by a strict pattern; a folder called ``exp2_c1`` has no influence.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from augment.base.errors import AugmentError
from augment.base.files import is_regular_file
from augment.base.storage.addresses import is_copy
from augment.base.storage.copies import is_folder, sizes

SPLITS = ("train", "query", "gallery")
JUNK, DISTRACTOR = -1, 0  # pids: a box without a whole person, ignored; in the gallery, but no match of any query

MARKET_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
# 24 files of Market-1501 v15.09.15 end in .jpg.jpg, and the protocol counts them.
MARKET_NAME = re.compile(r"(-1|\d{4,9})_c(\d{1,3})s(\d{1,3})_(\d{1,9})_(\d{1,4})(?:\.jpg)?\.(?:jpg|jpeg|png)", re.ASCII)
MARKET_EXAMPLE = "0002_c1s1_000451_03.jpg"

# The names of the paper's authors: the path of the original folder tree, without its separators.
DEEPFASHION_NAME = re.compile(r"fasion(?:WO)?MEN[A-Za-z]+id(0\d{7})(\d{2})_(\d)([a-z]+)\.(?:jpg|jpeg|png)", re.ASCII)
DEEPFASHION_EXAMPLE = "fasionMENDenimid0000008001_1front.jpg or img/MEN/Denim/id_00000080/01_1_front.jpg"
_DEEPFASHION_TREE = re.compile(
    r"img/((?:WO)?MEN)/([A-Za-z_]+)/id_(0\d{7})/(\d{2})_(\d)_([a-z]+)(\.(?:jpg|jpeg|png))", re.ASCII
)
_DEEPFASHION_PARTITION = "list_eval_partition.txt"
_PARTITION_LINE = re.compile(r"(\S.*\S)\s+id_\d+\s+(train|query|gallery)")

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


class Name(NamedTuple):
    """The parsed name of an image. DeepFashion: ``camid`` is the view, ``sequence`` the outfit."""

    pid: int
    camid: int
    sequence: int
    frame: int


class Found(NamedTuple):
    """An image file that was found, not opened yet. ``problem``: why its name cannot be parsed, or None."""

    id: str
    path: str  # not a Path, which takes five times the memory; there may be millions
    split: str
    name: Name
    problem: str | None = None
    size: int | None = None  # bytes, where the listing tells them

    @property
    def file(self) -> Path:
        """The path of its file."""
        return Path(self.path)


NO_NAME = Name(JUNK, 0, 0, 0)


def parse_market(name: str) -> Name | None:
    """Parse a base name in Market-1501's form; None where it does not match."""
    match = MARKET_NAME.fullmatch(name)
    return Name(*(int(group) for group in match.groups()[:4])) if match else None


def parse_deepfashion(name: str) -> Name | None:
    """Parse a base name in the authors' flat form; None where it does not match.

    An identity is a person in an outfit, as in the published pairs: its number is the item's followed by the two digits
    of the outfit, 8001 for ``id_00000080/01``.
    """
    match = DEEPFASHION_NAME.fullmatch(name)
    if not match:
        return None
    item, clothes, view, _ = match.groups()
    return Name(int(item + clothes), int(view), int(clothes), 0)


def parse_name(name: str) -> Name | None:
    """Parse a base name in either form; None where it matches neither."""
    return parse_market(name) or parse_deepfashion(name)


def list_market(root: Path) -> list[Found]:
    """All image files of a data set in Market-1501's layout, sorted by id.

    Raises :class:`AugmentError` where a training or query image has the number of distractors.
    """
    found = []
    for split, folder in MARKET_FOLDERS.items():
        found += _list_folder(root / folder, split, parse_market, MARKET_EXAMPLE)
    zero = [image for image in found if image.name.pid == DISTRACTOR and image.split != "gallery"]
    if zero:
        raise AugmentError(f"{root}: {len(zero)} training or query images are of person 0000 ({zero[0].file.name}, for "
                           "example), which in Market-1501's names means a distractor. Number people from 1, or "
                           "convert the data set with `augment data import`, which does.")  # fmt: skip
    return _by_id(found)


def list_deepfashion(root: Path) -> list[Found]:
    """All image files of DeepFashion's in-shop part, sorted by id.

    Either the original tree (``img/`` or ``Img/img/``, with ``list_eval_partition.txt`` in the root or in ``Eval/``),
    whose images get the flat names of the paper's authors as ids, or the authors' folders ``train`` and ``test`` (our
    gallery).
    """
    for partition in (root / _DEEPFASHION_PARTITION, root / "Eval" / _DEEPFASHION_PARTITION):
        if is_regular_file(partition):
            images = root / "Img" if is_folder(root / "Img") else root  # as it is distributed, or img/ alone
            if not is_folder(images / "img"):
                raise AugmentError(f"{images / 'img'}: no such folder; the images that {partition} lists belong there. "
                                   "Unpack img.zip of the in-shop benchmark.")  # fmt: skip
            return _by_id(_list_partition(partition, images))
    if not is_folder(root / "train"):
        raise AugmentError(
            f"{root}: neither {_DEEPFASHION_PARTITION} (original in-shop tree) nor the folders train and test (flat "
            f"names) are there. Set data.root to the folder that holds them."
        )
    found = [*_list_folder(root / "train", "train", parse_deepfashion, DEEPFASHION_EXAMPLE)]
    found += _list_folder(root / "test", "gallery", parse_deepfashion, DEEPFASHION_EXAMPLE)
    return _by_id(found)


LAYOUTS: dict[str, Callable[[Path], list[Found]]] = {
    "market1501": list_market,
    "deepfashion": list_deepfashion,
}


def _list_folder(folder: Path, split: str, parse: Callable[[str], Name | None], example: str) -> Iterator[Found]:
    """The image files of a folder; other files (Thumbs.db, readme.txt) are ignored."""
    try:
        found = _names_and_sizes(folder)
        names = sorted(name for name in found if os.path.splitext(name)[1].lower() in _IMAGE_SUFFIXES)
    except OSError as error:
        raise AugmentError(
            f"{folder}: {error.strerror}. The data set's {split} images belong there; set data.root to its folder."
        ) from None
    if not names:
        raise AugmentError(f"{folder}: holds no image. The data set's {split} images belong there.")
    stems: dict[str, str] = {}
    for name in names:
        shown, stem, path = printable(name), name.partition(".")[0], os.path.join(folder, name)
        parsed, size = parse(name), found[name]
        if parsed is None:
            yield Found(f"{split}/{shown}", path, split, NO_NAME, f"name is not like {example}", size)
        elif stem in stems:
            yield Found(f"{split}/{shown}", path, split, NO_NAME, f"{stems[stem]} has the same name", size)
        else:
            stems[stem] = name
            yield Found(f"{split}/{stem}", path, split, parsed, None, size)


def _names_and_sizes(folder: Path) -> dict[str, int | None]:
    """The files in a folder; their sizes where they are objects, which a listing tells. Raises OSError."""
    if not is_copy(folder):
        with os.scandir(folder) as entries:
            return {entry.name: None for entry in entries if not _is_folder(entry)}
    found = sizes(folder)
    if not found and not is_folder(folder):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: it cannot be opened either, which its row will say
        return False


def _list_partition(partition: Path, root: Path) -> Iterator[Found]:
    """The images that the original tree's partition file lists. Its first two lines are a count and a header."""
    lines = partition.read_text(encoding="utf-8", errors="backslashreplace").splitlines()[2:]
    for number, line in enumerate(lines, start=3):
        if not line.strip():
            continue
        entry = _PARTITION_LINE.fullmatch(line.strip())
        if entry is None:
            raise AugmentError(f"{partition}, line {number}: not 'image item_id train|query|gallery': {line[:80]!r}.")
        path, split = entry.groups()
        match = _DEEPFASHION_TREE.fullmatch(path)
        if match is None:
            problem = f"name is not like {DEEPFASHION_EXAMPLE}"
            yield Found(f"{split}/{path}", os.path.join(root, path), split, NO_NAME, problem)
            continue
        gender, category, item, clothes, view, side, suffix = match.groups()
        flat = f"fasion{gender}{category.replace('_', '')}id{item}{clothes}_{view}{side}"
        yield Found(f"{split}/{flat}", os.path.join(root, path), split, parse_deepfashion(flat + suffix) or NO_NAME)


def _by_id(found: Iterable[Found]) -> list[Found]:
    found = sorted(found, key=lambda image: image.id)
    for image, following in pairwise(found):
        if image.id == following.id:
            files = f"{image.path} and {following.path}"
            raise AugmentError(f"{files} would both have the id {image.id}. Rename or remove one of them.")
    return found


def printable(name: str) -> str:
    """A file name as valid text: bytes that are not UTF-8 are written as backslash escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
