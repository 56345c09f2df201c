"""The folder of a run: ours by a marker, held by one process at a time, tidied up after a killed one.

That of a run in object storage is the folder of its copies.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from augment.base.errors import AugmentError, UsageError, refusal
from augment.base.files import atomic_write, remove_leftovers
from augment.base.progress import say
from augment.base.storage import copies, lease, objects
from augment.base.storage.addresses import address_of, is_copy
from augment.config import Config, differences, dump_yaml, load_config
from augment.config.yaml_files import short
from augment.pipeline.stages import STAGES

MARKER = copies.RUN_MARKER
ERROR_LOG = "error.log"
_LOCK, _CONFIG = ".lock", "config.yaml"
_WRITTEN = (*(stage.name for stage in STAGES), "rendered", "study")
_SHOWN = 6  # changed settings
_ELSEWHERE = "or choose another folder with --set output=FOLDER."


def is_run_folder(folder: Path) -> bool:
    """Whether a folder belongs to a run. Earlier versions left no marker, but their lock and their configuration."""
    return (folder / MARKER).is_file() or ((folder / _CONFIG).is_file() and (folder / _LOCK).is_file())


def bring(folder: Path, stage: str | None = None, unfinished: bool = False, held: bool = False) -> Path:
    """A run's folder as it can be read: of a run in a storage its files are fetched, but not the many images.

    ``stage``: only what that stage has, and the tables of the others. ``unfinished``: also states of trainings and
    parts of tables, to go on with them. ``held``: this process holds the run.
    """

    def wanted(name: str) -> bool:
        within, _, file = name.rpartition("/")
        if name.startswith(lease.PREFIX) or (stage is not None and within.partition("/")[0] != stage):
            return within.count("/") == 0 and file.endswith(".parquet")
        return unfinished or not (file.endswith(".pt") or ".parts" in within)

    if is_copy(folder) and (held or objects.info(f"{address_of(folder)}/{MARKER}") is not None):
        copies.pull(folder, wanted, held)
    return folder


def _check_address(folder: Path) -> None:
    """What :func:`check_folder` checks, of an address."""
    address = address_of(folder)
    entries, folders = objects.listing(address)
    names = {entry.name for entry in entries if not entry.name.startswith(lease.PREFIX)} | set(folders)
    if names and MARKER not in names:
        raise UsageError(f"{address}: is not a run and not empty (it holds {min(names)}). Choose a new one with --set "
                         "output=ADDRESS.")  # fmt: skip
    outer = address.rpartition("/")[0]
    while outer.count("/") > 2:
        if objects.info(f"{outer}/{MARKER}") is not None:
            raise UsageError(f"{address}: is inside the run {outer}. Choose another with --set output=ADDRESS.")
        outer = outer.rpartition("/")[0]


def check_folder(folder: Path) -> None:
    """Raise :class:`AugmentError` where a run cannot use the folder: it has other content, or is inside a run's."""
    if is_copy(folder.absolute()):
        return _check_address(folder.absolute())
    if folder.exists() and not folder.is_dir():
        raise AugmentError(f"{folder}: is a file, not a folder. Move it away, {_ELSEWHERE}")
    outer = next((parent for parent in folder.absolute().parents if (parent / MARKER).is_file()), None)
    if outer is not None:
        raise UsageError(f"{folder}: is inside the folder of the run {outer}. Choose another with --set output=FOLDER.")
    if is_run_folder(folder) or not folder.is_dir():
        return
    others = sorted(set(os.listdir(folder)) - {_LOCK})
    if others:
        raise UsageError(
            f"{folder}: is not the folder of a run and not empty (it holds {others[0]}). Choose a new one with --set "
            "output=FOLDER."
        )


@contextmanager
def locked_run(config: Config, keep_config: bool = False) -> Iterator[Path]:
    """Hold the run's folder for this process, tidy up after a killed one, and leave the configuration in it.

    ``keep_config``: the one in it stays. May be entered again by the thread that holds it: a command holds the
    folder for the flow that it starts. Raises :class:`AugmentError` where another process holds it, it is not ours, or
    it cannot be written to.
    """
    run = config.folder.absolute()
    if int(os.environ.get("RANK", "0")):  # torchrun: the first process holds the folder for all of them
        yield bring(run, unfinished=True)
        return
    lock = FileLock(run / _LOCK, is_singleton=True)
    try:
        check_folder(config.folder)
        run.mkdir(parents=True, exist_ok=True)
        again = lock.is_locked
        lock.acquire(timeout=0)
    except Timeout:
        raise AugmentError(
            f"{config.folder}: another run is using this folder. Wait for it to end, {_ELSEWHERE}"
        ) from None
    except FileNotFoundError:
        raise AugmentError(f"{config.folder}: cannot be created. Create its parent first, {_ELSEWHERE}") from None
    except OSError as error:
        if (refused := refusal(error, config.folder)) is None:
            raise
        raise refused from None
    try:
        with nullcontext() if again or not is_copy(run) else lease.held(run):
            if not again:
                bring(run, unfinished=True, held=True)
            _tidy(run)
            if not keep_config:
                _say_changes(run, config)
                with atomic_write(run / _CONFIG) as file:
                    file.write(dump_yaml(config).encode())
            yield run
        (run / ERROR_LOG).unlink(missing_ok=True)
    finally:
        lock.release()


def _tidy(run: Path) -> None:
    if not (run / MARKER).exists():
        with atomic_write(run / MARKER) as file:
            file.write(b"This folder belongs to a run of reid-augment.\n")
    remove_leftovers(run)
    for written in _WRITTEN:
        for folder, _, _ in os.walk(run / written):
            remove_leftovers(Path(folder))


def _say_changes(run: Path, config: Config) -> None:
    """Which settings are not those of the last run here: a stage that works again replaces its results."""
    try:
        last = load_config(run / _CONFIG)
    except UsageError:  # none, or of another version
        return
    now, before = differences(config, last), differences(last, config)
    changes = [
        f"{key} {short(json.dumps(before.get(key)))} -> {short(json.dumps(now.get(key)))}"
        for key in sorted(now.keys() | before.keys())
        if key not in ("name", "output") and not key.startswith("flow.")
    ]
    if changes:
        more = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        say(f"{config.folder}: since its last run: {'; '.join(changes[:_SHOWN])}{more}")
