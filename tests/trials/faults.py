"""The operating system refuses, the n-th time, what opens, writes, syncs or moves a file below a folder."""

import builtins
import errno
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE)
# Which calls can fail with it. Reading, too, needs a file descriptor.
_OF_CALLS = {
    errno.ENOSPC: {"open", "write", "fsync", "mkdir", "rename"},
    errno.EIO: {"open", "read", "write", "fsync", "mkdir", "rename"},
    errno.EROFS: {"open", "mkdir", "rename"},
    errno.EMFILE: {"open", "read"},
}


class Injector:
    """Counts the calls below ``folder`` and lets the ``nth`` of those that could fail with ``error`` fail."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.error, self.nth = 0, 0
        self.calls: Counter[str] = Counter()
        self.failed: str | None = None  # the call that did

    def arm(self, folder: Path, error: int, nth: int) -> None:
        """From now on. ``nth`` 0: count only."""
        self.folder, self.error, self.nth, self.failed = str(folder), error, nth, None
        self.calls.clear()

    def tick(self, call: str, where: Any) -> None:
        """Before a call on a path or a file descriptor; raises where it is its turn."""
        if self.folder is None:
            return
        try:
            opened = f"/proc/self/fd/{where}" if isinstance(where, int) else None
            path = os.readlink(opened) if opened else os.path.abspath(os.fspath(where))
        except (OSError, TypeError, ValueError):
            return
        if isinstance(path, bytes) or not path.startswith(self.folder):
            return
        self.calls[call] += 1
        if call in _OF_CALLS.get(self.error, ()) and possible(self.calls, self.error) == self.nth:
            self.failed = f"{call} {path}"
            raise OSError(self.error, os.strerror(self.error), path)


def possible(calls: Counter[str], error: int) -> int:
    """How many of the calls could fail with an error."""
    return sum(calls[call] for call in _OF_CALLS[error])


INJECTOR = Injector()


class _Raw(io.FileIO):
    def write(self, data: Any) -> int | None:
        INJECTOR.tick("write", self.fileno())
        return super().write(data)


def install() -> None:
    """Replace the calls; to be done before the program is imported. Nothing fails until the injector is armed."""
    io.FileIO = _Raw
    builtins.open = io.open = _open
    os.open = _before(os.open, lambda path, flags, *_, **__: "open" if flags & (os.O_WRONLY | os.O_RDWR) else "read")
    for name, call in {"fsync": "fsync", "mkdir": "mkdir", "replace": "rename", "rename": "rename"}.items():
        setattr(os, name, _before(getattr(os, name), lambda *_, call=call, **__: call))


def _before(function: Callable, call: Callable[..., str]) -> Callable:
    def refused_or_done(first: Any, *others: Any, **named: Any) -> Any:
        INJECTOR.tick(call(first, *others, **named), first)
        return function(first, *others, **named)

    return refused_or_done


_plain_open = open


def _open(file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
          newline: str | None = None, closefd: bool = True, opener: Any = None) -> Any:  # fmt: skip
    """As the builtin, on a :class:`_Raw` where something is written."""
    writes = set(mode) & set("wax+")
    if not isinstance(file, int):
        INJECTOR.tick("open" if writes else "read", file)
    if not writes or buffering == 0:
        return _plain_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    if "b" in mode:
        return binary
    text = io.TextIOWrapper(binary, encoding, errors, newline, line_buffering=buffering == 1)
    text.mode = mode
    return text
