"""Calls to a storage, by fsspec: each is tried again until it succeeds or the storage has been silent for minutes."""

import errno
import os
import random
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from augment.base.errors import AugmentError, Refused, UsageError, refusal
from augment.base.storage.addresses import cache_folder

PATIENCE_S = 180.0  # for a server that restarts
AT_ONCE = 32  # calls
_FIRST_WAIT_S, _LONGEST_WAIT_S, _TELL_AFTER_S = 0.2, 10.0, 5.0
_WHOLE = 64 * 2**20  # larger objects are sent in parts
_FINAL = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, TypeError, AttributeError)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # this machine's, where the copies are
_PAGE, _PAGES_IN_TURN = 1000, 20  # names in an answer of S3; so many come one after the other
# Where the names of a large folder are cut to be listed at the same time. Any name is in one of the ranges.
_CUTS = [f"{number:02d}" for number in range(100)]


class Entry(NamedTuple):
    """An object. ``tag``: changes with its content."""

    name: str  # without its folder
    size: int
    tag: str


def info(address: str) -> Entry | None:
    """What the storage says of an object; None where there is none."""
    try:
        found = _try(address, lambda fs, path: fs.info(path))
    except FileNotFoundError:
        return None
    return _entry(found) if found["type"] == "file" else None


def get(address: str, file: Path) -> Entry:
    """Download an object into a local file; what it was. Raises FileNotFoundError."""
    return _try(address, lambda fs, path: (_get_from_s3 if _is_s3(fs) else _get)(fs, path, file))


def _get(fs: Any, path: str, file: Path) -> Entry:
    entry = _entry(fs.info(path))  # first: where it is written meanwhile, the tag is too old, and never too new
    fs.get_file(path, os.fspath(file))
    if file.stat().st_size != entry.size:
        raise OSError(errno.EAGAIN, "it was written meanwhile")
    return entry


def _get_from_s3(fs: Any, path: str, file: Path) -> Entry:
    """With one request instead of two, where the object is not large."""
    from fsspec.asyn import sync

    async def read() -> tuple[dict[str, Any], bytes | None]:
        bucket, key, _ = fs.split_path(path)
        answer = await fs._call_s3("get_object", Bucket=bucket, Key=key)
        if answer["ContentLength"] > _WHOLE:
            answer["Body"].close()
            return answer, None
        return answer, await answer["Body"].read()

    answer, content = sync(fs.loop, read)
    if content is None:
        return _get(fs, path, file)
    file.write_bytes(content)
    return Entry(path.rpartition("/")[2], len(content), answer["ETag"])


def read(address: str) -> bytes:
    """The bytes of an object. Raises FileNotFoundError."""
    return _try(address, lambda fs, path: fs.cat_file(path))


def put(address: str, file: Path) -> Entry:
    """Upload a local file; readers of the object see the old content or the new."""
    size = file.stat().st_size
    if size > _WHOLE:
        _try(address, lambda fs, path: fs.put_file(os.fspath(file), path))
    elif (answer := write(address, file.read_bytes())) is not None:
        return Entry(file.name, size, answer)
    entry = info(address)
    if entry is None or entry.size != size:
        raise Refused(f"{address}: is not what was just written. Run the same command again.")
    return entry


def write(address: str, data: bytes) -> str | None:
    """Write an object; its tag, where the storage tells it at once."""
    answer = _try(address, lambda fs, path: fs.pipe_file(path, data))
    return answer.get("ETag") if isinstance(answer, dict) else None


def create(address: str, data: bytes) -> bool:
    """Write an object unless there is one; whether it is ours. Of several at once, one is."""

    def attempt(fs: Any, path: str) -> bool:
        try:
            fs.pipe_file(path, data, mode="create")
        except Exception:
            if not fs.exists(path):  # refused for another reason, or gone since: again
                raise
        return fs.cat_file(path) == data  # the answer may be lost, the condition unknown to the storage

    return _try(address, attempt)


def remove(address: str) -> None:
    """Remove an object, if there is one."""
    with suppress(FileNotFoundError):
        _try(address, lambda fs, path: fs.rm_file(path))


def remove_below(address: str) -> None:
    """Remove all objects of a folder."""
    with suppress(FileNotFoundError):
        _try(address, lambda fs, path: fs.rm(path, recursive=True))


def move(address: str, target: str) -> None:
    """Rename an object."""
    _try(address, lambda fs, path: fs.cp_file(path, _fs(target)[1]))
    remove(address)


def listing(address: str) -> tuple[list[Entry], list[str]]:
    """The objects of a folder, and the names of the folders in it; both empty where there is none."""
    fs, _ = _fs(address)
    pages = _pages_of_s3 if _is_s3(fs) else _page_of_any
    entries: dict[str, Entry] = {}
    folders: set[str] = set()
    for page in pages(address):
        for found in page:
            entry = _entry(found)
            if found["type"] == "directory":
                folders.add(entry.name)
            elif entry.name:  # S3 may have an empty object for the folder itself
                entries[entry.name] = entry
    return list(entries.values()), sorted(folders)


def walk(address: str, left_out: Collection[str] = ()) -> Iterator[tuple[str, list[Entry], list[str]]]:
    """:func:`listing` of a folder and all below it but those ``left_out``, each with its path in the first, which is
    empty or ends in a slash."""
    level = [""]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while level:
            below: list[str] = []
            listings = pool.map(lambda folder: listing(f"{address}/{folder}".rstrip("/")), level)
            for folder, (entries, names) in zip(level, listings, strict=True):
                yield folder, entries, names
                below += [f"{folder}{name}/" for name in names]
            level = [folder for folder in below if folder[:-1] not in left_out]


def _page_of_any(address: str) -> Iterator[list[dict[str, Any]]]:
    try:
        yield _try(address, lambda fs, path: fs.ls(path, detail=True))
    except (FileNotFoundError, NotADirectoryError):
        return


def _pages_of_s3(address: str) -> Iterator[list[dict[str, Any]]]:
    """A page at a time; where there are very many, by ranges of names at the same time."""
    last, more, count = "", True, 0
    while more and count < _PAGES_IN_TURN:
        page, more = _page_of_s3(address, last)
        yield page
        last, count = _last_of(page, last), count + 1
    if not more:
        return
    starts = [last, *(cut for cut in _CUTS if cut > last)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ranges = pool.map(lambda start, end: _range_of_s3(address, start, end), starts, [*starts[1:], None])
        for pages in ranges:
            yield from pages


def _range_of_s3(address: str, start: str, end: str | None) -> list[list[dict[str, Any]]]:
    pages, more = [], True
    while more and (end is None or start < end):
        page, more = _page_of_s3(address, start)
        pages.append(page)
        start = _last_of(page, start)
    return pages


def _last_of(page: list[dict[str, Any]], before: str) -> str:
    return page[-1]["name"].rpartition("/")[2] if page else before


def _page_of_s3(address: str, start: str) -> tuple[list[dict[str, Any]], bool]:
    """The names after ``start``, in their order, and whether there are more."""

    def ask(fs: Any, path: str) -> tuple[list[dict[str, Any]], bool]:
        bucket, key, _ = fs.split_path(path)
        prefix = f"{key}/" if key else ""
        answer = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=_PAGE,
                            **({"StartAfter": prefix + start} if start else {}))  # fmt: skip
        files = [{"name": item["Key"], "size": item["Size"], "ETag": item["ETag"], "type": "file"}
                 for item in answer.get("Contents", [])]  # fmt: skip
        folders = [{"name": item["Prefix"].rstrip("/"), "size": 0, "type": "directory"}
                   for item in answer.get("CommonPrefixes", [])]  # fmt: skip
        return sorted(files + folders, key=lambda item: item["name"]), answer.get("IsTruncated", False)

    try:
        return _try(address, ask)
    except FileNotFoundError:
        return [], False


def _entry(found: dict[str, Any]) -> Entry:
    tag = next((found[key] for key in ("ETag", "etag", "md5Hash", "generation") if found.get(key)), None)
    if tag is None:
        times = (found.get(key) for key in ("mtime", "LastModified", "last_modified", "updated", "created"))
        then = next((then for then in times if then is not None), "")
        tag = f"{then.timestamp() if isinstance(then, datetime) else then} {found.get('size')} {found.get('ino')}"
    return Entry(found["name"].rstrip("/").rpartition("/")[2], found.get("size") or 0, str(tag))


def _is_s3(fs: Any) -> bool:
    return hasattr(fs, "call_s3")


_systems: dict[tuple[int, str], Any] = {}  # by process and protocol: fsspec keeps one for every thread


def _fs(address: str) -> tuple[Any, str]:
    protocol = address.partition("://")[0]
    key = os.getpid(), protocol
    if key not in _systems:
        import fsspec

        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if protocol in ("s3", "s3a"):
            options["config_kwargs"] = {"max_pool_connections": AT_ONCE}
        if protocol in ("file", "local"):
            options["auto_mkdir"] = True
        try:
            _systems[key] = fsspec.filesystem(protocol, **options)
        except (ImportError, ValueError) as error:
            extra = "pip install 'reid-augment[s3]'" if protocol == "s3" else "install fsspec's package for it"
            raise UsageError(f"{address}: {error}. For such addresses: {extra}.") from None
    return _systems[key], _systems[key]._strip_protocol(address)


def _try(address: str, call: Callable[[Any, str], Any]) -> Any:
    """``call(file system, path)``, again and again with growing pauses while trying again can help.

    Raises :class:`AugmentError` where access is denied, :class:`Refused` after :data:`PATIENCE_S`.
    """
    fs, path = _fs(address)
    begun, wait, told = time.monotonic(), _FIRST_WAIT_S, False
    while True:
        try:
            return call(fs, path)
        except _FINAL:
            raise
        except PermissionError as error:
            raise AugmentError(f"{address}: access denied ({error}). Set the storage's credentials (for S3: "
                               "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile).") from None  # fmt: skip
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK:
                raise refusal(error, cache_folder()) or error from None
            if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
                raise AugmentError(f"{address}: no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                                   "AWS_PROFILE.") from None  # fmt: skip
            passed = time.monotonic() - begun
            if passed > PATIENCE_S:
                raise Refused(f"{address}: the storage is not responding ({_short(error)}). Run the same command "
                              "again once it does.") from error  # fmt: skip
            if passed > _TELL_AFTER_S and not told:
                from augment.base.progress import say

                say(f"{address}: {_short(error)}; trying again for up to {PATIENCE_S:.0f} s.")
                told = True
            time.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, _LONGEST_WAIT_S)


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
