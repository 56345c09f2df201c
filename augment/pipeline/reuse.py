"""What a stage would do if it were called now, and why: nothing, the rest of an interrupted work, or all of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from augment.base.errors import AugmentError
from augment.config import Config
from augment.manifest import Manifest, read_manifest, verify
from augment.pipeline.stages import Stage, stage_named
from augment.stage import origin_of


@dataclass(frozen=True)
class Verdict:
    """``done``: rows (of the gan: iterations) that an earlier run made and this one keeps."""

    status: Literal["reuse", "partly", "run"]
    why: str = ""
    done: int = 0


def judge(stage: Stage, config: Config, remade: list[str]) -> Verdict:
    """``remade``: the stages before this one whose manifests are still to be made.

    Raises :class:`AugmentError` where the stage itself would at once: a folder or a file is missing.
    """
    run = config.folder.absolute()
    path = stage.path(run)
    waiting = [need for need in stage.needs if need in remade]
    if waiting:
        return Verdict("run", f"waits for {' and '.join(waiting)}" if path.exists() else "not made yet")
    inputs = [read_manifest(one.path(run), one.table) for one in map(stage_named, stage.needs)]
    origin = origin_of(stage.function, stage.settings(config), *inputs, path.parent)
    old = _readable(path)
    if old is not None and old.provenance["digest"] == origin["digest"]:
        damaged = verify(old)
        if damaged.empty:
            return Verdict("reuse", "up to date", len(old.table))
        return Verdict("partly", f"{len(damaged)} files are gone or changed", len(old.table) - len(damaged))
    done, stands = _begun(stage, path.parent, origin)
    if stands:
        return Verdict("reuse", "made before, set aside since", done)
    if done:
        why = "goes on from a shorter training" if stage.name == "gan" and old is not None else "was interrupted"
        return Verdict("partly", why, done)
    return Verdict("run", "; ".join(_changes(stage, old.provenance, origin)) if old else "not made yet")


def _readable(path: Path) -> Manifest | None:
    """The manifest, or None: a damaged one is made anew like one that is not there."""
    try:
        return read_manifest(path) if path.exists() and read_manifest(path).kind else None
    except AugmentError:
        return None


def _begun(stage: Stage, folder: Path, origin: dict[str, Any]) -> tuple[int, bool]:
    """How much of the work of this provenance lies in the folder, and whether it is all of it."""
    if stage.name == "gan":
        return _begun_training(folder, origin)
    parts = sorted((folder / ".parts" / origin["digest"][:16]).glob("*.parquet"))
    key = "run" if stage.table == "metrics" else "id"
    done: set[str] = set()
    for part in parts:
        table = pq.read_table(part)
        if key in table.column_names:
            done.update(table[key].to_pylist())
    return len(done), False


def _begun_training(folder: Path, origin: dict[str, Any]) -> tuple[int, bool]:
    from augment.gan.training import place_of_training

    place = place_of_training(folder, origin)
    newest = max(place.glob("state-*.pt"), default=None) if place else None
    done = int(newest.stem.partition("-")[2]) if newest else 0
    return done, place not in (None, folder) and (place / "checkpoints.parquet").exists()


def _changes(stage: Stage, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    before, now = dict(_flat(old["section"])), dict(_flat(new["section"]))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            yield f"{stage.section}.{key} {_plain(before.get(key))} -> {_plain(now.get(key))}"
    for name in sorted(old["inputs"].keys() | new["inputs"].keys()):
        if old["inputs"].get(name) != new["inputs"].get(name):
            yield "image files came, went or changed" if name == "listing" else f"input {name} changed"
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
