"""Names of other data sets, or of a folder of crops, read by a pattern with the groups ``pid`` and ``camid``.

A pattern with a slash parses the path below the folder, for people who have a folder each.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd

from augment.base.errors import AugmentError, UsageError
from augment.base.files import is_regular_file
from augment.base.storage.addresses import is_copy
from augment.base.storage.copies import is_folder, sizes_below
from augment.config.fields import check_pattern
from augment.data.layouts import DISTRACTOR, JUNK, NO_NAME, SPLITS, Found, Name, printable
from augment.data.selection import has_correct_match, hold_out

PATTERN = r"(?P<pid>-1|\d+)_c(?P<camid>\d+)"  # CUHK03-np, DukeMTMC-reID, VeRi-776, Market-1501
# As these data sets call their parts.
_FOLDERS = {
    "train": ("bounding_box_train", "image_train", "train"),
    "query": ("query", "image_query"),
    "gallery": ("bounding_box_test", "image_test", "gallery", "test"),
}
NO_MATCH = "its name does not match the pattern"
_BROKEN_LINK = "a link that leads nowhere"
_ABSENT = "listed, but there is no such file"
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_OTHER_SUFFIXES = {".bmp", ".gif", ".tif", ".tiff", ".webp"}
_MSMT_LISTS = {"list_train.txt": "train", "list_val.txt": "train", "list_query.txt": "query",
               "list_gallery.txt": "gallery"}  # fmt: skip
_NUMBER = re.compile(r"-1|\d{1,9}", re.ASCII)  # what Market-1501's names can hold
_CAMERA = re.compile(r"\d{1,3}", re.ASCII)
_MSMT_FOLDERS = {"train": ("train", "mask_train_v2"), "test": ("test", "mask_test_v2")}  # of its two releases
_MSMT_NAME = re.compile(r"\d+_\d+_(?P<camid>\d+)_")


@dataclass(frozen=True)
class ParsedFolder:
    """The parsed names of a folder."""

    images: list[Found]  # with their person and camera, sorted by split and name
    others: list[Found]  # images whose names do not match the pattern, or that are not there
    split_by: str  # how train, query and gallery were told apart, in words
    unread: Mapping[str, int]  # suffix of other image formats -> files

    def preview(self) -> str:
        """People, cameras, images a person of each split, ten examples, and the names without a match."""
        lines = [self.split_by]
        for split in SPLITS:
            some = [image for image in self.images if image.split == split]
            each = Counter(image.name.pid for image in some if image.name.pid > DISTRACTOR).values()
            cameras = {image.name.camid for image in some}
            spread = f"{min(each)} to {max(each)}, median {median(each):g}" if each else "none"
            seen_by = "1 camera" if len(cameras) == 1 else f"{len(cameras)} cameras"
            lines.append(f"{split:8} {len(some):>7,} images, {len(each):,} people, {seen_by}; "
                         f"images a person: {spread}")  # fmt: skip
        for image in self.images[:: max(1, len(self.images) // 10)][:10]:
            shown = image.id.partition("/")[2]
            lines.append(f"  {shown} -> {image.split}, person {image.name.pid}, camera {image.name.camid}")
        why_left_out = {_BROKEN_LINK: _BROKEN_LINK, _ABSENT: _ABSENT}
        for why in ("no match", _BROKEN_LINK, _ABSENT):
            some = [image for image in self.others if why_left_out.get(image.problem, "no match") == why]
            if some:
                names = ", ".join(printable(image.file.name) for image in some[:3])
                lines.append(f"{why}, left out: {len(some):,} ({names}{', ...' if len(some) > 3 else ''})")
        if self.unread:
            lines.append(f"other formats, left out: {_listed(self.unread)}; convert them to .png or .jpg to use them")
        lines += self._lacking()
        return "\n".join(lines)

    def _lacking(self) -> list[str]:
        """What cannot be done with these images."""
        train, query, gallery = (
            pd.DataFrame([image.name for image in self.images if image.split == split and image.name.pid > DISTRACTOR],
                         columns=Name._fields) for split in ("train", "query", "gallery")
        )  # fmt: skip
        lines = []
        if train["pid"].nunique() < 2:
            lines.append("WARNING: fewer than two people to train on.")
        if not has_correct_match(query, gallery):
            lines.append("WARNING: re-ID is measured across cameras, which is impossible here: no query's person is in "
                         "the gallery from another camera.")  # fmt: skip
        return lines

    def as_market(self) -> list[Found]:
        """All images under ids in the form of Market-1501's names, numbered in each split; sorted by id.

        Those without a match keep their names, and say so as their ``problem``.
        """
        numbers: Counter[str] = Counter()
        named = []
        for image in self.images:
            numbers[image.split] += 1
            pid, camid, number = image.name.pid, image.name.camid, numbers[image.split]
            person = str(JUNK) if pid == JUNK else f"{pid:04d}"
            id = f"{image.split}/{person}_c{camid}s1_{number:06d}_00"
            named.append(image._replace(id=id, name=Name(pid, camid, 1, number)))
        return sorted([*named, *self.others], key=lambda image: image.id)


def parse_folder(folder: Path, pattern: str = PATTERN, test_people: int | None = None) -> ParsedFolder:
    """Parse the names of a data set's folder: splits as in Market-1501, DukeMTMC-reID, CUHK03-np or VeRi-776, MSMT17's
    list files, or a single folder of crops (with subfolders).

    Of a single folder the last ``test_people`` (None: a third of all) become query and gallery. Person 0 means a
    distractor here, so where a training or query image has it, all numbers are increased by one. Raises
    :class:`UsageError` for an invalid pattern, and for ``test_people`` where the folder has a split of its own;
    :class:`AugmentError` where no name matches.
    """
    try:
        expression = re.compile(check_pattern(pattern), re.ASCII)
    except ValueError as error:
        raise UsageError(f"--pattern '{pattern}': {error}.") from None
    if not is_folder(folder):
        raise AugmentError(f"{folder}: no such folder.")
    if is_regular_file(folder / "list_train.txt"):
        _refuse_test_people(folder, test_people, "MSMT17's lists")
        found = _msmt(folder)
        images, others = _with_their_files(found)
        if not images:
            raise AugmentError(f"{folder}: none of the {len(found):,} images in MSMT17's lists is there "
                               f"({found[0].path}).")  # fmt: skip
        return ParsedFolder(_sorted(images), others, "split by MSMT17's lists", {})
    parts = {split: folder / name for split, names in _FOLDERS.items() for name in reversed(names)
             if is_folder(folder / name)}  # fmt: skip
    single = set(parts) != set(SPLITS)
    if single and {"train", "gallery"} <= set(parts):
        raise AugmentError(f"{folder}: has {parts['train'].name} and {parts['gallery'].name}, but no folder query. Add "
                           "it, or name a single folder of crops.")  # fmt: skip
    if not single:
        _refuse_test_people(folder, test_people, "the folders " + ", ".join(part.name for part in parts.values()))
    unread: Counter[str] = Counter()
    found = [image for split, part in ({"train": folder} if single else parts).items()
             for image in _by_pattern(part, split, expression, unread)]  # fmt: skip
    images = [image for image in found if not image.problem]
    others = [image for image in found if image.problem]
    if not images:
        first = others[0] if others else None
        if first is not None and first.problem != NO_MATCH:
            raise AugmentError(f"{folder}: {printable(first.file.name)}: {first.problem}.")
        if not others and unread:
            raise AugmentError(f"{folder}: has no .jpg or .png, only {_listed(unread)}. Convert them to .png or .jpg.")
        names = ", ".join(printable(image.file.name) for image in others[:3]) or "no .jpg or .png"
        raise AugmentError(f"{folder}: no file name matches '{pattern}'; found: {names}. Give a pattern that does.")
    split_by = "split by its folders " + ", ".join(part.name for part in parts.values())
    if single:
        people = len({image.name.pid for image in images if image.name.pid >= 0})
        held = test_people or max(2, people // 3)
        if held > people - 2:
            raise AugmentError(f"{folder}: shows {people} people; with {held} of them for testing fewer than two are "
                               "left to train on.")  # fmt: skip
        images = hold_out(_without_zero(images), held)
        split_by = f"a single folder: the last {held} of {people} people are query and gallery"
    return ParsedFolder(_sorted(images), others, split_by, unread)


def _refuse_test_people(folder: Path, test_people: int | None, split_by: str) -> None:
    if test_people is not None:
        raise UsageError(f"--test-people {test_people}: {folder} is split already, by {split_by}. Leave it out.")


def _sorted(images: list[Found]) -> list[Found]:
    return sorted(_without_zero(images), key=lambda image: (SPLITS.index(image.split), image.id))


def _listed(unread: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(unread.items()))


def _by_pattern(
    folder: Path, split: str, expression: re.Pattern[str], unread: Counter[str]
) -> Iterator[Found]:  # fmt: skip
    """``unread`` counts the files in other image formats."""
    sizes = sizes_below(folder) if is_copy(folder) else {}
    files: list[Path] = []
    for path in [folder / name for name in sizes] if is_copy(folder) else _files_below(folder):
        if (suffix := path.suffix.lower()) in _SUFFIXES and not path.name.startswith("."):
            files.append(path)
        elif suffix in _OTHER_SUFFIXES:
            unread[suffix] += 1
    for file in sorted(files):
        below = file.relative_to(folder).as_posix()
        # the name alone, unless the pattern asks for more: a folder exp2_c1 must not count
        match = expression.search(below if "/" in expression.pattern else file.name)
        name = _name(match["pid"], match["camid"]) if match else None
        problem = None
        if match is None:
            problem = NO_MATCH
        elif name is None:
            problem = (f"the pattern finds pid '{match['pid']}' and camid '{match['camid']}', but both must be "
                       "numbers, of at most 9 and 3 digits")  # fmt: skip
        elif not is_copy(file) and not file.exists():
            problem = _BROKEN_LINK
        yield Found(f"{split}/{printable(below)}", str(file), split, name or NO_NAME, problem, sizes.get(below))


def _files_below(folder: Path) -> Iterator[Path]:
    """All files, those of linked folders too; a folder that is reached twice counts once, so a loop of links ends."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(parent, name) for name in names)


def _name(pid: str | None, camid: str | None) -> Name | None:
    if _NUMBER.fullmatch(pid or "") is None or _CAMERA.fullmatch(camid or "") is None:
        return None
    return Name(int(pid or ""), int(camid or ""), 1, 0)


def _msmt(folder: Path) -> list[Found]:
    """MSMT17: lines ``0000/0000_000_01_0303morning_0008_0.jpg 0``. Test people are numbered from 0 again; they are
    renumbered above those of training."""
    parts = {part: next((folder / name for name in names if is_folder(folder / name)), folder / names[0])
             for part, names in _MSMT_FOLDERS.items()}  # fmt: skip
    found: list[Found] = []
    for listing, split in _MSMT_LISTS.items():
        path = folder / listing
        if not is_regular_file(path):
            raise AugmentError(f"{path}: is missing; MSMT17 has {', '.join(_MSMT_LISTS)}.")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            file, _, person = line.strip().rpartition(" ")
            camera = _MSMT_NAME.match(Path(file).name)
            if not person.isdigit() or camera is None:
                raise AugmentError(f"{path}, line {number}: not 'folder/name person': {line[:80]!r}.")
            part = parts["train" if split == "train" else "test"]
            name = Name(int(person), int(camera["camid"]), 1, 0)
            found.append(Found(f"{split}/{file}", str(part / file), split, name))
    above = 1 + max(image.name.pid for image in found if image.split == "train")
    return [image if image.split == "train" else _shifted(image, above) for image in found]


def _with_their_files(found: list[Found]) -> tuple[list[Found], list[Found]]:
    """The images of a list whose files are there, and the others."""
    below: dict[Path, set[str]] = {}

    def there(file: Path) -> bool:
        if not is_copy(file):
            return file.is_file()
        if (parent := file.parent) not in below:
            below[parent] = set(sizes_below(parent))
        return file.name in below[parent]

    images, others = [], []
    for image in found:
        (images if there(image.file) else others).append(image)
    return images, [image._replace(problem=_ABSENT) for image in others]


def _without_zero(images: list[Found]) -> list[Found]:
    if any(image.name.pid == DISTRACTOR and image.split != "gallery" for image in images):
        return [_shifted(image, 1) for image in images]
    return images


def _shifted(image: Found, by: int) -> Found:
    return image if image.name.pid == JUNK else image._replace(name=image.name._replace(pid=image.name.pid + by))
