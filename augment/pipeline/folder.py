"""The folder of a run: ours by a marker, held by one process at a time, tidied up after a killed one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from augment.base.errors import AugmentError, UsageError, refusal
from augment.base.files import atomic_write, remove_leftovers
from augment.config import Config, dump_yaml
from augment.pipeline.stages import STAGES

MARKER = ".augment-run"
ERROR_LOG = "error.log"
_LOCK, _CONFIG = ".lock", "config.yaml"
_WRITTEN = (*(stage.name for stage in STAGES), "rendered", "study")
_ELSEWHERE = "or choose another folder with --set output=FOLDER."


def is_run_folder(folder: Path) -> bool:
    """Whether a folder belongs to a run. Earlier versions left no marker, but their lock and their configuration."""
    return (folder / MARKER).is_file() or ((folder / _CONFIG).is_file() and (folder / _LOCK).is_file())


def check_folder(folder: Path) -> None:
    """Raise :class:`AugmentError` where a run cannot use the folder: it has other content, or is inside a run's."""
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
            f"{folder}: is no folder of a run and not empty (it holds {others[0]}). Choose a new one with --set "
            "output=FOLDER."
        )


@contextmanager
def locked_run(config: Config) -> Iterator[Path]:
    """Hold the run's folder for this process, tidy up after a killed one, and leave the configuration in it.

    May be entered again by the thread that holds it: a command holds the folder for the flow that it starts.
    Raises :class:`AugmentError` where another process holds it, it is not ours, or it cannot be written to.
    """
    run = config.folder.absolute()
    if int(os.environ.get("RANK", "0")):  # torchrun: the first process holds the folder for all of them
        yield run
        return
    lock = FileLock(run / _LOCK, is_singleton=True)
    try:
        check_folder(config.folder)
        run.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise AugmentError(
            f"{config.folder}: another run is using this folder. Wait for it to end, {_ELSEWHERE}"
        ) from None
    except OSError as error:
        if (refused := refusal(error, config.folder)) is None:
            raise
        raise refused from None
    try:
        if not (run / MARKER).exists():
            with atomic_write(run / MARKER) as file:
                file.write(b"This folder belongs to a run of reid-augment.\n")
        remove_leftovers(run)
        for written in _WRITTEN:
            for folder, _, _ in os.walk(run / written):
                remove_leftovers(Path(folder))
        with atomic_write(run / _CONFIG) as file:
            file.write(dump_yaml(config).encode())
        yield run
        (run / ERROR_LOG).unlink(missing_ok=True)
    finally:
        lock.release()
