"""One process at a time holds a run in object storage, by a lease object, since object storage has no locks.

The holder is whoever wrote the object ``.lock-<n>`` with the highest n: of several that write the same one, the storage
accepts one. The holder writes it again every 20 seconds. Where that has not happened for 90 the next one writes n + 1,
and the former, should it still be there, finds that and stops.
"""

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from augment.base.errors import AugmentError, Refused
from augment.base.storage import objects
from augment.base.storage.addresses import address_of, cache_folder

BEAT_S, DEAD_AFTER_S = 20.0, 90.0
PREFIX = ".lock-"


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold a run. This process must be the only one of this machine that tries (a lock on the copies' folder).

    Raises :class:`AugmentError` where another machine holds it.
    """
    folder = address_of(run)
    me = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "process": os.getpid(), "machine": _machine()}
    name = _take(folder, me)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder, name, me, ended), daemon=True)
    beating.start()
    answers = True
    try:
        yield
    except Refused:
        answers = False  # so it cannot be given back either: whoever comes next waits for a sign
        raise
    finally:
        ended.set()
        if answers:
            beating.join()
            if _current(folder) == name:
                objects.remove(f"{folder}/{name}")


def _take(folder: str, me: dict[str, Any]) -> str:
    """The name of the lock that was written."""
    begun, seen, told = time.monotonic(), None, False
    while True:
        there = _current(folder)
        holder = _holder(folder, there)
        if there is None or not holder or holder["machine"] == me["machine"] or _is_over(begun, seen):
            name = f"{PREFIX}{int(there.removeprefix(PREFIX)) + 1 if there else 1:06d}"
            if objects.create(f"{folder}/{name}", json.dumps(me).encode()):
                if there is not None:
                    objects.remove(f"{folder}/{there}")
                return name
            begun, seen = time.monotonic(), None
            continue
        if seen is not None and (there, holder) != seen:
            raise AugmentError(
                f"{folder}: another run is using this address (process {holder['process']} on {holder['host']}). Wait "
                "for it to end, or choose another with --set output=ADDRESS."
            )
        seen = there, holder
        if not told:
            from augment.base.progress import say

            say(f"{folder}: process {holder['process']} on {holder['host']} used this address; waiting up to "
                f"{DEAD_AFTER_S:.0f} s for a sign that it still does.")  # fmt: skip
            told = True
        time.sleep(min(2.0, BEAT_S / 4))


def _is_over(begun: float, seen: object) -> bool:
    return seen is not None and time.monotonic() - begun > DEAD_AFTER_S


def _current(folder: str) -> str | None:
    names = [entry.name for entry in objects.listing(folder)[0] if entry.name.startswith(PREFIX)]
    return max(names, default=None)


def _holder(folder: str, name: str | None) -> dict[str, Any]:
    """What the lock says of its holder; nothing where there is none any more."""
    try:
        return json.loads(objects.read(f"{folder}/{name}")) if name else {}
    except FileNotFoundError:
        return {}
    except ValueError:
        return {"host": "an unknown machine", "process": 0, "machine": ""}


def _beat(folder: str, name: str, me: dict[str, Any], ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_S):
        try:
            if _current(folder) != name:
                break
            if ended.is_set():  # while the question was on its way
                return
            count += 1
            objects.write(f"{folder}/{name}", json.dumps({**me, "beat": count}).encode())
        except AugmentError:
            continue  # whoever else takes the run is found when the storage answers again
    if ended.is_set():
        return
    from augment.base.progress import say

    say(f"{folder}: another process has taken over this run because this one stopped renewing its lock; stopping.")
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _machine() -> str:
    """An identity of those who share the cache folder: a lock on a file there keeps them apart."""
    file = Path(cache_folder(), ".machine")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".machine-{uuid.uuid4().hex}")
        new.write_text(new.name)
        with suppress(FileExistsError):
            os.link(new, file)
        new.unlink()
    return file.read_text()
