"""What a stage would do if it were called now, and why: nothing, the rest of interrupted work, or all of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from augment.base.errors import AugmentError, Refused
from augment.config import Config
from augment.manifest import SCHEMAS, Manifest, read_manifest, verify
from augment.pipeline.stages import Stage


@dataclass(frozen=True)
class Decision:
    """``done``: units of the stage's estimate that are kept of an earlier run."""

    status: Literal["reuse", "restore", "resume", "run"]  # restore: made, but not in place
    why: str = ""
    done: int = 0

    @property
    def is_work(self) -> bool:
        """Whether there is anything to do."""
        return self.status in ("resume", "run")


def decide(stage: Stage, config: Config, remade: list[str]) -> Decision:
    """``remade``: the earlier stages whose manifests are yet to be made.

    Raises :class:`AugmentError` where the stage itself would at its start: a folder or a file is missing.
    """
    path = stage.path(config.folder.absolute())
    waiting = [need for need in stage.needs if need in remade]
    if waiting:
        return Decision("run", f"waits for {', '.join(waiting)}" if path.exists() else "not made yet")
    origin = stage.identity(config)
    old = _readable(path)
    if old is not None and old.provenance.get("digest") == origin["digest"]:
        damaged = verify(old)
        if damaged.empty:
            return Decision("reuse", "up to date", old.num_rows)
        done = old.num_rows - len(damaged) if "sha256" in SCHEMAS[old.kind].names else 0
        return Decision("resume" if done else "run", _counted(len(damaged), "missing or changed"), done)
    begun = stage.module.begun(path.parent, origin)
    if begun.complete:
        return Decision("restore", begun.why, begun.units)
    if begun.units:
        return Decision("resume", begun.why, begun.units)
    if old is None:
        return Decision("run", "its table is damaged" if path.exists() else "not made yet")
    return Decision("run", "; ".join(_changes(stage, old.provenance, origin)))


def _counted(files: int, what: str) -> str:
    return f"1 file is {what}" if files == 1 else f"{files:,} files are {what}"


def _readable(path: Path) -> Manifest | None:
    """The manifest, or None: a damaged manifest counts as absent."""
    try:
        return read_manifest(path) if path.exists() else None
    except Refused:
        raise
    except AugmentError:
        return None


def _changes(stage: Stage, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    before, now = dict(_flat(old["section"])), dict(_flat(new["section"]))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            yield f"{stage.section}.{key} {_plain(before.get(key))} -> {_plain(now.get(key))}"
    for name in sorted(old["inputs"].keys() | new["inputs"].keys()):
        if old["inputs"].get(name) != new["inputs"].get(name):
            yield "image files were added, removed or changed" if name == "listing" else f"input {name} changed"
    if old["version"] != new["version"]:
        yield "this version of the program makes it differently"


def _flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _plain(value: Any) -> str:
    return "absent" if value is None else json.dumps(value).strip('"')
