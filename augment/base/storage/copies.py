"""Local copies of objects: current when they are used, bounded in size.

A copy's time of modification is made from its object's tag, in the seventies of the last century: whether it is
current shows without a list of copies, and what has a later time was made here and is not in the storage. Its time of
access is when it was last used.
"""

import hashlib
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from augment.base.errors import UsageError
from augment.base.storage import objects
from augment.base.storage.addresses import address_of, cache_folder, is_copy
from augment.base.storage.objects import Entry

BOUND_VARIABLE, _USUAL_BOUND = "AUGMENT_CACHE_GB", 20.0
RUN_MARKER = ".augment-run"
_PARTIAL = ".partial"
_STAMPS_S = 2**28  # 1978
_DAY_S = 86_400

# Folders of a run whose files are fetched one by one when they are read, and may go when the cache is full. What else
# a run has (tables, weights, pages) stays there while it is at work.
_MANY = ("synthetic/images", "rendered/bounding_box_train", "rendered/query", "rendered/bounding_box_test")

_trusted: set[str] = set()  # folders whose copies were compared with the storage: they change through us only
_grown = 0  # bytes since the cache was last looked through
_lock = threading.Lock()


def forget() -> None:
    """Compare all copies with the storage again when they are next used."""
    _trusted.clear()


def fetch(path: Path | str) -> bool:
    """Bring the current copy of an object to its path; whether there is one, or a file that was made here."""
    file = os.path.normpath(path)
    stamp = _stamp_of(file)
    if stamp is not None and (stamp >= _STAMPS_S * 10**9 or os.path.dirname(file) in _trusted):
        _touch(file, stamp)
        return True
    if os.path.isdir(file):
        return False
    if stamp is None:
        return _download(file)
    entry = objects.info(address_of(file))
    if entry is None:
        _drop(file)
        return False
    if not _is_current(file, entry):
        return _download(file)
    return True


def fetch_all(paths: Iterable[Path | str]) -> None:
    """:func:`fetch` many at the same time; those that are no copies, or have no object, are left as they are."""
    if files := list(dict.fromkeys(path for path in paths if is_copy(path))):
        with ThreadPoolExecutor(objects.AT_ONCE) as pool:
            for _ in pool.map(fetch, files):
                pass


def is_folder(path: Path) -> bool:
    """Whether there is a folder, for a copy in the storage."""
    return any(objects.listing(address_of(path))) if is_copy(path) else path.is_dir()


def sizes(folder: Path) -> dict[str, int]:
    """Name -> bytes of every object in a folder, not in those below. Copies that are not current are dropped."""
    entries, _ = objects.listing(address_of(folder))
    _compare(os.path.normpath(folder), {entry.name: entry for entry in entries})
    return {entry.name: entry.size for entry in entries}


def sizes_below(folder: Path) -> dict[str, int]:
    """The same of a folder and all below it: path relative to ``folder`` -> bytes."""
    found: dict[str, int] = {}
    for below, entries, _ in objects.walk(address_of(folder)):
        _compare(os.path.normpath(folder / below), {entry.name: entry for entry in entries})
        found |= {below + entry.name: entry.size for entry in entries}
    return found


def pull(run: Path, wanted: Callable[[str], bool], held: bool = False) -> None:
    """Bring the files of a run but its many images: those ``wanted`` by their name relative to the run.

    Copies of what is no longer in the storage are removed, and so are outdated ones. ``held``: no process writes here,
    so a file that has grown since it was uploaded is one that was interrupted.
    """
    downloads = []
    for folder, entries, names in objects.walk(address_of(run), _MANY):
        here = os.path.normpath(os.path.join(run, folder))
        _compare(here, {entry.name: entry for entry in entries}, held)
        files = (os.path.join(here, entry.name) for entry in entries if wanted(folder + entry.name))
        downloads += [file for file in files if not os.path.exists(file)]
        for gone in _folders_here(here) - set(names):
            for root, _, _ in os.walk(os.path.join(here, gone)):
                _compare(root, {})
    with ThreadPoolExecutor(objects.AT_ONCE) as pool:
        list(pool.map(_download, downloads))


def put(file: Path | str, path: Path) -> None:
    """Upload a file that is about to take the place of the copy ``path``."""
    entry = objects.put(address_of(path), Path(file))
    _set_stamp(file, entry)
    _account(entry.size)


def publish(path: Path) -> None:
    """Upload a file that grows in place, as it is now; nothing where the path is no copy."""
    if is_copy(path):
        _set_stamp(path, objects.put(address_of(path), path))


def remove(path: Path) -> None:
    """Remove a file, if there is one; of a copy the object first."""
    if is_copy(path):
        objects.remove(address_of(path))
    path.unlink(missing_ok=True)


def remove_below(folder: Path) -> None:
    """Remove what is in the storage below a folder; nothing where the folder is no copy."""
    if is_copy(folder):
        objects.remove_below(address_of(folder))


def move(path: Path, target: Path) -> None:
    """Rename a file or folder, of a copy the object first. A file ``target`` is replaced, a folder is added to."""
    if path.is_dir() and (is_copy(path) or target.is_dir()):  # a storage has no folders: files, some of them only here
        target.mkdir(parents=True, exist_ok=True)
        for inner in sorted(path.iterdir()):
            move(inner, target / inner.name)
        path.rmdir()
    elif is_copy(path) and not _is_ours_only(path):
        objects.move(address_of(path), address_of(target))
        _drop(os.path.normpath(target))
        path.unlink(missing_ok=True)
        fetch(target)
    else:
        path.replace(target)


def _is_ours_only(path: Path) -> bool:
    stamp = _stamp_of(os.path.normpath(path))
    return stamp is not None and stamp >= _STAMPS_S * 10**9


def _compare(folder: str, entries: dict[str, Entry], held: bool = False) -> None:
    """Drop the copies in a folder that are not those of ``entries``, all that the storage has there."""
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        for item in found:
            if item.is_file(follow_symlinks=False):
                entry, is_one = entries.get(item.name), item.stat().st_mtime_ns < _STAMPS_S * 10**9
                if (is_one or (held and entry is not None)) and (entry is None or not _is_current(item.path, entry)):
                    _drop(item.path)
    _trusted.add(folder)


def _folders_here(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as found:
            return {item.name for item in found if item.is_dir(follow_symlinks=False)}
    except FileNotFoundError:
        return set()


def _download(file: str) -> bool:
    """Replace a copy by what the storage has; whether it has anything."""
    folder, name = os.path.split(file)
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.", suffix=_PARTIAL)
    os.close(handle)
    try:
        entry = objects.get(address_of(file), Path(temporary))
        os.chmod(temporary, 0o644)
        _set_stamp(temporary, entry)
        os.replace(temporary, file)
    except FileNotFoundError:
        _drop(file)
        return False
    finally:
        _drop(temporary)
    _account(entry.size)
    return True


def _stamp(entry: Entry) -> int:
    number = int.from_bytes(hashlib.sha256(entry.tag.encode()).digest()[:8])
    return number % (_STAMPS_S * 10**9)


def _stamp_of(file: str) -> int | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns if stat.S_ISREG(found.st_mode) else None


def _set_stamp(file: Path | str, entry: Entry) -> None:
    os.utime(file, ns=(time.time_ns(), _stamp(entry)))


def _is_current(file: str, entry: Entry) -> bool:
    try:
        found = os.stat(file)
    except OSError:
        return False
    return (found.st_mtime_ns, found.st_size) == (_stamp(entry), entry.size)


def _touch(file: str, stamp: int) -> None:
    if stamp < _STAMPS_S * 10**9:
        with suppress(OSError):
            os.utime(file, ns=(time.time_ns(), stamp))


def _drop(file: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(file)


def bound() -> float:
    """Bytes that the copies of images may take: ``$AUGMENT_CACHE_GB``, else 20 GB."""
    given = os.environ.get(BOUND_VARIABLE)
    try:
        return 1e9 * float(given or _USUAL_BOUND)
    except ValueError:
        raise UsageError(f"{BOUND_VARIABLE}={given}: must be a number of gigabytes, like 20.") from None


def _account(size: int) -> None:
    """Look through the cache whenever a sixteenth of its bound has come in."""
    global _grown
    with _lock:
        _grown += size
        if _grown < bound() / 16:
            return
        _grown = 0
    shrink()


def shrink() -> None:
    """Drop the copies that were used longest ago, until the others take three quarters of the bound."""
    found, total = [], 0
    for folder, names, files in os.walk(cache_folder()):
        if RUN_MARKER in files:  # what a run at work relies on stays
            for many in _MANY:
                for below, _, some in os.walk(os.path.join(folder, many)):
                    found += [os.path.join(below, name) for name in some]
            names.clear()
        else:
            found += [os.path.join(folder, name) for name in files]
    copies = []
    for file in found:
        with suppress(OSError):
            status = os.stat(file)
            if file.endswith(_PARTIAL):
                if status.st_ctime < time.time() - _DAY_S:  # of a killed process
                    _drop(file)
            elif status.st_mtime_ns < _STAMPS_S * 10**9:
                copies.append((status.st_atime_ns, status.st_size, file))
                total += status.st_size
    if total <= bound():
        return
    for _, size, file in sorted(copies):
        if total <= 0.75 * bound():
            return
        _drop(file)
        total -= size
