"""Import of other data sets, or of a folder of crops, into Market-1501's layout.

File names are parsed by a pattern with the groups ``pid`` and ``camid``; the result is shown before files are written.
A pattern with a slash parses the path below the folder, for people who have a folder each.
"""

import csv
import io
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from augment.base.errors import AugmentError, UsageError
from augment.base.files import atomic_write, remove_begun
from augment.base.progress import progress
from augment.base.terminal import spreadsheet_cell
from augment.data.layouts import DISTRACTOR, JUNK, MARKET_FOLDERS, SPLITS, Found, Name, printable
from augment.data.stage import hold_out

PATTERN = r"(?P<pid>-1|\d+)_c(?P<camid>\d+)"  # CUHK03-np, DukeMTMC-reID, VeRi-776, Market-1501
# As these data sets call their parts.
_FOLDERS = {
    "train": ("bounding_box_train", "image_train", "train"),
    "query": ("query", "image_query"),
    "gallery": ("bounding_box_test", "image_test", "gallery", "test"),
}
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_MSMT_LISTS = {"list_train.txt": "train", "list_val.txt": "train", "list_query.txt": "query",
               "list_gallery.txt": "gallery"}  # fmt: skip
_MSMT_NAME = re.compile(r"\d+_\d+_(?P<camid>\d+)_")


@dataclass(frozen=True)
class ParsedFolder:
    """The parsed names of a folder."""

    images: list[Found]  # with their person and camera, sorted by split and name
    others: list[Path]  # images whose names do not match the pattern

    def preview(self) -> str:
        """People, cameras, images a person of each split, ten examples, and the names without a match."""
        lines = []
        for split in SPLITS:
            some = [image for image in self.images if image.split == split]
            each = Counter(image.name.pid for image in some if image.name.pid > DISTRACTOR).values()
            cameras = {image.name.camid for image in some}
            spread = f"{min(each)} to {max(each)}, median {median(each):g}" if each else "none"
            lines.append(f"{split:8} {len(some):>7,} images, {len(each):,} people, {len(cameras)} cameras; "
                         f"images a person: {spread}")  # fmt: skip
        for image in self.images[:: max(1, len(self.images) // 10)][:10]:
            shown = image.id.partition("/")[2]
            lines.append(f"  {shown} -> {image.split}, person {image.name.pid}, camera {image.name.camid}")
        if self.others:
            names = ", ".join(printable(path.name) for path in self.others[:3])
            lines.append(f"no match, left out: {len(self.others):,} ({names}, ...)")
        return "\n".join(lines)


def parse_folder(folder: Path, pattern: str = PATTERN, test_people: int | None = None) -> ParsedFolder:
    """Parse the names of a data set's folder: splits as in Market-1501, DukeMTMC-reID, CUHK03-np or VeRi-776, MSMT17's
    list files, or a single folder of crops (with subfolders).

    Of a single folder the last ``test_people`` (None: a third of all) become query and gallery. Person 0 means a
    distractor here, so where a training or query image has it, all numbers are increased by one. Raises
    :class:`UsageError` for an invalid pattern, :class:`AugmentError` where no name matches.
    """
    try:
        expression = re.compile(pattern, re.ASCII)
    except re.error as error:
        raise UsageError(f"--pattern {pattern!r}: not a regular expression ({error}).") from None
    if not {"pid", "camid"} <= set(expression.groupindex):
        raise UsageError(f"--pattern {pattern!r}: needs the groups pid and camid, as in {PATTERN!r}.")
    if not folder.is_dir():
        raise AugmentError(f"{folder}: no such folder.")
    others: list[Path] = []
    if (folder / "list_train.txt").exists():
        images = _msmt(folder)
    else:
        parts = {split: folder / name for split, names in _FOLDERS.items() for name in reversed(names)
                 if (folder / name).is_dir()}  # fmt: skip
        if set(parts) == set(SPLITS):
            images = [image for split, part in parts.items() for image in _by_pattern(part, split, expression, others)]
        else:
            images = list(_by_pattern(folder, "train", expression, others))
            people = len({image.name.pid for image in images if image.name.pid >= 0})
            images = hold_out(_without_zero(images), test_people or max(2, people // 3))
    if not images:
        names = ", ".join(printable(path.name) for path in others[:3]) or "no .jpg or .png"
        raise AugmentError(f"{folder}: no file name matches {pattern!r}; found: {names}. Give --pattern.")
    return ParsedFolder(sorted(_without_zero(images), key=lambda image: (SPLITS.index(image.split), image.id)), others)


def import_images(parsed: ParsedFolder, destination: Path) -> None:
    """Write the images to the new folder ``destination`` in Market-1501's layout, by hard link where possible, and
    ``names.csv`` with the original file of each. The folder is created atomically."""
    if destination.exists():
        raise UsageError(f"{destination}: exists already. Name a new folder.")
    partial = destination.with_name(f".{destination.name}.partial")
    marker = partial / ".import"
    remove_begun(partial, marker)
    with atomic_write(marker) as file:
        file.write(b"An import of reid-augment that has not ended.\n")
    for name in MARKET_FOLDERS.values():
        (partial / name).mkdir(parents=True)
    origin = io.StringIO()
    table = csv.writer(origin)
    table.writerow(["file", "from"])
    numbers: Counter[str] = Counter()
    with progress("import", total=len(parsed.images)) as advance:
        for image in parsed.images:
            numbers[image.split] += 1
            person = str(JUNK) if image.name.pid == JUNK else f"{image.name.pid:04d}"
            number = f"{numbers[image.split]:06d}_00{image.file.suffix.lower()}"
            target = partial / MARKET_FOLDERS[image.split] / f"{person}_c{image.name.camid}s1_{number}"
            try:
                os.link(image.file, target)
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(image.file, target)
            source = spreadsheet_cell(printable(str(image.file)))
            table.writerow([target.relative_to(partial).as_posix(), source])
            advance()
    with atomic_write(partial / "names.csv") as file:
        file.write(origin.getvalue().encode())
    marker.unlink()
    os.replace(partial, destination)


def _by_pattern(folder: Path, split: str, expression: re.Pattern[str], others: list[Path]) -> list[Found]:
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES):
        below = file.relative_to(folder).as_posix()
        # the name alone, unless the pattern asks for more: a folder exp2_c1 must not count
        match = expression.search(below if "/" in expression.pattern else file.name)
        if match is None:
            others.append(file)
            continue
        name = Name(int(match["pid"]), int(match["camid"]), 1, 0)
        found.append(Found(f"{split}/{printable(below)}", str(file), split, name))
    return found


def _msmt(folder: Path) -> list[Found]:
    """MSMT17: lines ``0000/0000_000_01_0303morning_0008_0.jpg 0``. Test people are numbered from 0 again; they are
    renumbered above those of training."""
    found: list[Found] = []
    for listing, split in _MSMT_LISTS.items():
        path = folder / listing
        if not path.exists():
            raise AugmentError(f"{path}: is missing; MSMT17 has {', '.join(_MSMT_LISTS)}.")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            file, _, person = line.strip().rpartition(" ")
            camera = _MSMT_NAME.match(Path(file).name)
            if not person.isdigit() or camera is None:
                raise AugmentError(f"{path}, line {number}: not 'folder/name person': {line[:80]!r}.")
            part = "train" if split == "train" else "test"
            name = Name(int(person), int(camera["camid"]), 1, 0)
            found.append(Found(f"{split}/{file}", str(folder / part / file), split, name))
    above = 1 + max(image.name.pid for image in found if image.split == "train")
    return [image if image.split == "train" else _shifted(image, above) for image in found]


def _without_zero(images: list[Found]) -> list[Found]:
    if any(image.name.pid == DISTRACTOR and image.split != "gallery" for image in images):
        return [_shifted(image, 1) for image in images]
    return images


def _shifted(image: Found, by: int) -> Found:
    return image if image.name.pid == JUNK else image._replace(name=image.name._replace(pid=image.name.pid + by))
