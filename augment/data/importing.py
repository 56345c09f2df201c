"""Import of other data sets, or of a folder of crops, into Market-1501's layout."""

import csv
import io
import os
import shutil
from pathlib import Path

from augment.base.disk import bytes_to_copy, check_room
from augment.base.errors import UsageError
from augment.base.files import atomic_write, remove_begun
from augment.base.progress import progress
from augment.base.terminal import spreadsheet_cell
from augment.data.layouts import MARKET_FOLDERS, printable
from augment.data.patterns import ParsedFolder


def import_images(parsed: ParsedFolder, destination: Path) -> None:
    """Write the images to the new folder ``destination`` in Market-1501's layout, by hard link where possible, and
    ``names.csv`` with the original file of each. The folder is created atomically."""
    if destination.exists():
        raise UsageError(f"{destination}: already exists. Name a new folder.")
    check_room(destination, bytes_to_copy([image.file for image in parsed.images], destination, links=True))
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
    named = [image for image in parsed.as_market() if not image.problem]
    with progress("import", total=len(named)) as advance:
        for image in named:
            name = image.id.partition("/")[2] + image.file.suffix.lower()
            target = partial / MARKET_FOLDERS[image.split] / name
            try:
                os.link(os.path.realpath(image.file), target)  # a link to a link would lead elsewhere from there
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(image.file, target)
            source = spreadsheet_cell(printable(str(image.file)))
            table.writerow([target.relative_to(partial).as_posix(), source])
            advance()
    with atomic_write(partial / "names.csv") as file:
        file.write(origin.getvalue().encode())
    marker.unlink()
    os.replace(partial, destination)
