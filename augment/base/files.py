"""Files: atomic writes, hashes, bounded reads.

A path may be that of a copy of an object (:mod:`augment.base.storage`): it is fetched before it is read, and written to
its storage first.
"""

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from augment.base.errors import Refused, UsageError, refusal
from augment.base.storage import copies
from augment.base.storage.addresses import is_copy

_PART = re.compile(r"(?P<file>.+\.(?:tar|parquet))#(?P<start>\d+)\+(?P<size>\d+)")

MAX_BYTES = 64 * 2**20  # of a file that is read at once: an image, never more

_PARTIAL = ".partial"
_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.partial", re.DOTALL)  # as tempfile names them


def is_regular_file(path: Path) -> bool:
    """Whether it is a regular file: no folder, and no pipe or device, which may block its reader for ever."""
    _fetch(path)
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return False


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of the content of a file, or of a part of one (:func:`read_stored`).

    Raises OSError where it cannot be read or is no regular file.
    """
    if _PART.fullmatch(path.name):
        return sha256_bytes(read_stored(path))
    _fetch(path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local(path: Path) -> Path:
    """A path that other libraries may open: of a copy, brought up to date. There need not be a file."""
    _fetch(path)
    return path


def _fetch(path: Path) -> None:
    if is_copy(path):
        copies.fetch(path)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to read. Raises OSError where there is none, or a pipe or device, which might never end."""
    _fetch(path)
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115  the caller closes it
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "not a regular file", str(path))


@contextmanager
def _told_where_refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(refused := refusal(error, path), Refused):
            raise refused from error
        raise


def read_file(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file. Raises OSError as :func:`open_file` does, ValueError where it has too many.

    :class:`Refused` where the system cannot open any file now, or the disk fails.
    """
    with _told_where_refused(path), open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{size} bytes is too large (limit {limit})")
        return file.read()


def stored_file(path: Path) -> Path:
    """The file that a path of :func:`read_stored` is in."""
    part = _PART.fullmatch(path.name)
    return path if part is None else path.with_name(part["file"])


def read_stored(path: Path) -> bytes:
    """The bytes of a file, or of a part of a tar or parquet file: ``0001.tar#1536+4312`` is 4,312 bytes from byte 1,536
    on. Raises what :func:`read_file` does."""
    part = _PART.fullmatch(path.name)
    if part is None:
        return read_file(path)
    with _told_where_refused(path), open_file(path.with_name(part["file"])) as file:
        if int(part["size"]) > MAX_BYTES:
            raise ValueError(f"{part['size']} bytes is too large (limit {MAX_BYTES})")
        file.seek(int(part["start"]))
        return file.read(int(part["size"]))


def stored_size(path: Path) -> int:
    """How many bytes :func:`read_stored` returns; 0 where there is no such file."""
    if (part := _PART.fullmatch(path.name)) is not None:
        return int(part["size"])
    return path.stat().st_size if path.is_file() else 0


class _Remembering(io.FileIO):
    """A file that remembers why a write failed: torch and numpy tell something else."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def atomic_write(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that replaces it, synced to disk, when the block succeeds.

    That of a copy is uploaded before. Readers of ``path`` see the old content or the new, never a part.
    Without ``sync`` a power cut may take what was written: for many small files that are checked and made again.
    Folders are made as needed. Where the system refuses (a full disk, no permission, ...) the error is an
    :class:`AugmentError` that names the path.
    """
    path = Path(path)
    temporary = raw = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL)
        raw = _Remembering(handle, "r+b")
        with io.BufferedRandom(raw) as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        if is_copy(path):
            copies.put(temporary, path)
        os.replace(temporary, path)
        temporary = None
    except Exception as error:
        cause = error if isinstance(error, OSError) else raw.failure if raw is not None else None
        if cause is not None and (refused := refusal(cause, path)) is not None:
            raise refused from error
        raise
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def remove(path: Path) -> None:
    """Remove a file, if there is one."""
    copies.remove(path)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that is possible."""
    copies.remove_below(folder)
    shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what :func:`atomic_write` left in a folder, not in those below, when its process was killed."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if _LEFTOVER.fullmatch(name):
                (folder / name).unlink(missing_ok=True)


def remove_begun(folder: Path, marker: Path) -> None:
    """Remove a folder that an earlier, unfinished work began, as a ``marker`` in it says.

    Raises :class:`UsageError` where there is a folder of that name without it, of another owner.
    """
    if folder.is_dir() and not marker.is_file() and any(folder.iterdir()):
        raise UsageError(f"{folder}: is in the way, and was not left by an interrupted export or import. Move it away.")
    shutil.rmtree(folder, ignore_errors=True)
