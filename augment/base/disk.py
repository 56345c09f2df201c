"""Space on disks, before much is written there."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from augment.base.errors import AugmentError
from augment.base.files import stored_size


@dataclass(frozen=True)
class Room:
    """What is to be written to a disk, and what is free there. ``folder``: the first of those that lie on it."""

    folder: Path
    needed: float  # bytes
    free: int

    @property
    def is_short(self) -> bool:
        """Whether it does not fit."""
        return self.free < self.needed


def rooms(needs: dict[Path, float]) -> list[Room]:
    """The room on each disk for what folders need; a folder may be yet to be made."""
    on: dict[int, list[Path]] = {}
    for folder in needs:
        on.setdefault(_disk(folder), []).append(folder)
    return [Room(folders[0], sum(needs[folder] for folder in folders), shutil.disk_usage(_existing(folders[0])).free)
            for folders in on.values()]  # fmt: skip


def check_room(folder: Path, needed: float) -> None:
    """Raises :class:`AugmentError` where the bytes do not fit."""
    [room] = rooms({folder: needed})
    if room.is_short:
        raise AugmentError(f"{folder}: {bytes_text(needed)} are to be written, and {bytes_text(room.free)} are free "
                           "there. Free some, or name another folder.")  # fmt: skip


def bytes_to_copy(files: Sequence[Path], destination: Path, links: bool) -> int:
    """What the files take at the destination; nothing where they can be hard ``links``, on the same disk."""
    linked = {folder for folder in {file.parent for file in files} if links and _disk(folder) == _disk(destination)}
    return sum(stored_size(file) for file in files if file.parent not in linked)


def bytes_text(count: float) -> str:
    """As people read it: 1.2 GB."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _disk(folder: Path) -> int:
    return os.stat(_existing(folder)).st_dev


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
