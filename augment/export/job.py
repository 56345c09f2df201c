"""The export job: it can be interrupted and resumed, and its folder is created atomically."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from augment.base.disk import bytes_to_copy, check_room
from augment.base.errors import UsageError
from augment.base.files import atomic_write, remove_begun, remove_leftovers, sha256_bytes, sha256_file
from augment.base.progress import progress, say
from augment.export.card import facts, write_card
from augment.export.files import Advance, metadata
from augment.export.folders import write_coco, write_imagefolder, write_market1501
from augment.export.selection import Filters, Selection, select
from augment.export.shards import write_parquet, write_webdataset
from augment.manifest import content_digest
from augment.run import Run

FORMATS: dict[str, Callable[[Selection, Path, Advance], None]] = {
    "market1501": write_market1501,
    "imagefolder": write_imagefolder,
    "webdataset": write_webdataset,
    "coco": write_coco,
    "parquet": write_parquet,
}
_SHARDS = ("webdataset", "parquet")  # the others are hard links where possible
_VERSION = 2
_CARD, _SUMS = "README.md", "SHA256SUMS"


def export(run_folder: Path, destination: Path, to: str, filters: Filters, *, terms: str | None = None,
           command: str = "") -> Selection:  # fmt: skip
    """Write the usable images of a run to the new folder ``destination`` in one of :data:`FORMATS`.

    It is written to ``.<destination>.partial`` beside it, from which the same call resumes after an interruption.
    Memory grows with the rows of the run's tables, not with the images. ``terms`` and ``command`` go into the data
    card. Raises :class:`UsageError` where ``destination`` has other content.
    """
    if filters.labels == "soft" and to == "market1501":
        raise UsageError("--labels soft: file names cannot hold soft labels. Choose another format.")
    selection = select(Run(run_folder), filters)
    header = facts(selection, filters, to, terms, command)
    content = metadata(selection.rows).append_column("name", [selection.rows["name"].tolist()])
    settled = {name: value for name, value in header.items() if name != "command"}
    digest = sha256_bytes(json.dumps([_VERSION, settled, content_digest("export", content)]).encode())
    header["digest"] = digest
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        if not _is_done(destination, digest):
            raise UsageError(f"{destination}: already exists, with other content. Name a new folder.")
        say(f"{destination}: already exists, with the same images.")
        return selection
    if to == "market1501":
        _warn_of_readers(selection, destination)
    partial = destination.with_name(f".{destination.name}.partial")
    marker = partial / ".digest"
    if not marker.exists() or marker.read_text() != digest:
        remove_begun(partial, marker)
        with atomic_write(marker) as file:
            file.write(digest.encode())
    files = [Path(file) for file in selection.rows["file"]]
    there = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())  # by an interrupted export
    check_room(destination, max(0, bytes_to_copy(files, destination, links=to not in _SHARDS) - there))
    with progress("export", total=len(selection.rows)) as advance:
        FORMATS[to](selection, partial, advance)
    for folder, _, _ in os.walk(partial):
        remove_leftovers(Path(folder))
    with atomic_write(partial / _CARD) as file:
        file.write(write_card(header).encode())
    _write_sums(partial)
    marker.unlink()
    os.replace(partial, destination)
    return selection


def _write_sums(folder: Path) -> None:
    """The SHA-256 of every file in the format of ``sha256sum``."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with progress("checksums", total=len(files), unit="files") as advance, atomic_write(folder / _SUMS) as sums:
        for name in files:
            if name not in (".digest", _SUMS):
                sums.write(f"{sha256_file(folder / name)}  {name}\n".encode())
            advance()


def _is_done(destination: Path, digest: str) -> bool:
    """Whether the folder has this export, undamaged."""
    card, sums = destination / _CARD, destination / _SUMS
    if not (card.exists() and sums.exists() and f"\ndigest: {digest}\n" in card.read_text(encoding="utf-8")):
        return False
    lines = [line.split("  ", 1) for line in sums.read_text(encoding="utf-8").splitlines()]
    return all((destination / name).exists() and sha256_file(destination / name) == found for found, name in lines)


def _warn_of_readers(selection: Selection, destination: Path) -> None:
    """torchreid's and fast-reid's Market1501 assert Market-1501's ranges and search labels in the whole path."""
    rows = selection.rows
    if rows["pid"].max() > 1501 or rows["camid"].max() > 6:
        say(f"export: up to pid {rows['pid'].max()} and camera {rows['camid'].max()}; torchreid's and fast-reid's "
            "Market1501 refuse more than 1501 and 6. `augment.reid.register` has no such limit.")  # fmt: skip
    found = re.search(r"[-\d]+_c\d", str(destination.absolute()))
    if found:
        say(f"export: torchreid searches labels in the whole path and will find {found[0]!r} in {destination}. "
            "Move it to a folder without such a name.")  # fmt: skip
