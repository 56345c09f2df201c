"""The folder of a rendered set: whose it is, which set it holds, held by one process at a time."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from augment.base.errors import AugmentError, refusal
from augment.base.files import atomic_write, remove
from augment.base.progress import say
from augment.config import RenderedConfig
from augment.data.layouts import MARKET_FOLDERS
from augment.data.rendered import sums
from augment.data.rendered.plan import Item, plan

VERSION = 2  # of the renderer: another version makes other images from the same seed
MARKER = "rendered.json"
ANNOTATIONS = {"train": "annotation-train.csv", "gallery": "annotation-test.csv"}  # as published: none for queries
_LOCK = ".lock"


def check_root(section: RenderedConfig, root: Path, own: bool) -> None:
    """Raise :class:`AugmentError` where ``root`` holds another set, or something else.

    The set of another configuration may be in use by another run, so only one in the run's ``own`` folder gives way.
    """
    if not root.is_dir():
        return
    names = os.listdir(root)
    if MARKER not in names:
        if not own and not all(name.startswith(".") for name in names):  # another process may just begin
            raise AugmentError(
                f"{root}: is not empty, and not a rendered set. Set data.root to another folder, or data.layout to the "
                f"layout of the images in it."
            )
    elif not own and {key: _read_marker(root).get(key) for key in _state(section)} != _state(section):
        known = _read_marker(root)
        if not known:
            raise AugmentError(f"{root / MARKER}: damaged. Delete {root} to render the set again, or set data.root to "
                               "another folder.")  # fmt: skip
        there = {"version": known.get("version"), **known.get("section", {})}
        differing = [f"{name} {there.get(name)}, not {value}"
                     for name, value in {"version": VERSION, **section.identity()}.items() if there.get(name) != value]
        raise AugmentError(
            f"{root}: holds the rendered set of another configuration ({'; '.join(differing)}). Set data.root to "
            "another folder, or delete this one if no run needs it."
        )


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Hold the folder: of two processes that want the set, one renders and the other waits for it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"render: another run is rendering into {root}; waiting for it.")
            lock.acquire()
    except OSError as error:
        if (refused := refusal(error, root)) is None:
            raise
        raise refused from None
    try:
        yield
    finally:
        lock.release()


def stands(section: RenderedConfig, root: Path, items: list[Item]) -> bool:
    """Whether the folder holds the whole set, every file as it was written."""
    complete = _read_marker(root) == _state(section) | {"complete": True}
    return complete and (root / sums.FILE).is_file() and not sums.damaged(root, file_names(items))


def file_names(items: list[Item]) -> list[str]:
    """The files of a set, relative to its folder."""
    return [f"{MARKET_FOLDERS[item.split]}/{item.name}" for item in items] + list(ANNOTATIONS.values())


def begin(section: RenderedConfig, root: Path, own: bool) -> None:
    """Prepare the folder: only the images of this very set stay. Raises what :func:`check_root` raises."""
    check_root(section, root, own)
    known, wanted = _read_marker(root), _state(section)
    if {key: known.get(key) for key in wanted} != wanted:
        if known:
            say(f"render: {root} holds a set of another configuration or version; it is rendered again.")
        for item in _plan_of(known) or plan(section):  # no other file there is ours
            remove(root / MARKET_FOLDERS[item.split] / item.name)
        remove(root / sums.FILE)
    write_marker(section, root, complete=False)


def _plan_of(known: dict[str, Any]) -> list[Item]:
    try:
        return plan(RenderedConfig.model_validate(known["section"]))
    except (KeyError, ValidationError):
        return []


def _state(section: RenderedConfig) -> dict[str, Any]:
    return {"version": VERSION, "section": section.identity()}


def _read_marker(root: Path) -> dict[str, Any]:
    """What the folder says of itself; nothing where that is damaged."""
    try:
        known = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and isinstance(known.get("section"), dict) else {}


def write_marker(section: RenderedConfig, root: Path, complete: bool) -> None:
    """Say in the folder which set it holds, and whether all of it."""
    with atomic_write(root / MARKER) as out:
        out.write(json.dumps(_state(section) | {"complete": complete}, sort_keys=True, indent=1).encode())
