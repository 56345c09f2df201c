"""What all stages share: an identity by content, reuse of finished work, and work in shards that can be interrupted.

A stage is a module ``augment/<folder>/stage.py`` with four functions. One makes its table and has a name of its own
(pipeline/stages.py lists them); the other three have the same name in every stage and have no side effects:

- ``identity(section, *inputs, folder)``: the provenance under which the table would be made. Raises
  :class:`AugmentError` where something is missing that the stage needs.
- ``begun(folder, origin)``: how much of the work of that provenance the folder already holds, a :class:`Begun`.
- ``estimate(config, counts)``: what a run from scratch would make and how long it would take, an :class:`Estimate`.

One whose settings name files has ``named_files(section)`` too: the SHA-256 of each, by key. A run calls it before its
first stage; it raises :class:`AugmentError` where a file cannot be read or settings contradict each other.

A stage's digest covers its name, version, configuration section and the digests of its inputs, but not devices,
workers, shard sizes and folders. Rows that an earlier run finished under the same digest are kept if their files still
have their hashes; only the others are computed.
"""

import json
import math
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from augment.base.errors import AugmentError, Refused
from augment.base.files import remove_folder, sha256_bytes, sha256_file
from augment.base.memory import release_unused
from augment.base.progress import progress, say
from augment.config import Section
from augment.manifest import (
    Manifest,
    files_of_rows,
    package_versions,
    problems_of,
    read_manifest,
    sort_rows,
    to_table,
    verify,
    write_manifest,
)

# Apply the function to each shard, in any order, anywhere; yield the parts written, as they are finished.
Spread = Callable[[Callable[[Sequence[str]], Path], Sequence[Sequence[str]]], Iterable[Path]]
# How many ids a shard has; "auto": see :func:`size_of_shards`.
ShardSize = int | Literal["auto"]
# (ids of a shard) -> its rows; called with keyword ``folder``, that of the stage's table.
Work = Callable[..., pd.DataFrame | list[dict[str, Any]]]


def no_files(id: str) -> Sequence[str]:
    """For a stage whose files are all rows of its table."""
    return ()


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files in a folder, by name."""
    return {name: sha256_file(folder / name) for name in names}


@dataclass(frozen=True)
class Begun:
    """Unfinished work in a stage's folder, in the units of its :class:`Estimate`."""

    units: int = 0
    complete: bool = False  # all of it, by a run with other settings
    why: str = "was interrupted"


@dataclass(frozen=True)
class Counts:
    """The size of the data set, as far as it is known before the stages have run."""

    splits: dict[str, int]  # images
    posed: int  # images in pose.splits
    sources: int  # training images that get synthetic ones
    train_pairs: int
    test_pairs: int
    exact: bool  # sources and pairs: False means "at most", the poses are not known yet

    @property
    def limit(self) -> str:
        """Prefix of a number of sources or pairs."""
        return "" if self.exact else "at most "


@dataclass(frozen=True)
class Share:
    """Of a stage's time, what one of its parts takes."""

    name: str
    images: int
    seconds_each: float

    @property
    def seconds(self) -> float:
        """Of all images."""
        return self.images * self.seconds_each


@dataclass(frozen=True)
class Estimate:
    """What a stage makes from scratch."""

    amount: str  # in words
    units: int  # the units of its progress: rows, iterations, trainings
    disk: float  # bytes
    seconds: float | None  # on two cores of a current server; None: unknown
    on_gpu: bool = False  # whether it runs on a GPU where there is one; its rate there is unknown
    shares: tuple[Share, ...] = ()  # of the seconds, where they depend on what is asked for
    memory: float = 0.0  # bytes at once, beside the program's own; 0: little
    elsewhere: Mapping[Path, float] = field(default_factory=dict)  # of the disk: bytes in folders outside the run's


def one_by_one(function: Callable[[Sequence[str]], Path], shards: Sequence[Sequence[str]]) -> Iterator[Path]:
    """The :data:`Spread` of a single process."""
    return map(function, shards)


def provenance(stage: str, version: int, section: Section, inputs: Mapping[str, Manifest | str],
               without: Collection[str] = ()) -> dict[str, Any]:  # fmt: skip
    """The provenance of a table. ``inputs``: manifests, or content hashes of other files (a checkpoint, say).

    ``without``: settings of the section that do not affect this table.
    """
    identity = {
        "stage": stage,
        "version": version,
        "section": {key: value for key, value in section.identity().items() if key not in without},
        "inputs": {name: value if isinstance(value, str) else value.digest for name, value in sorted(inputs.items())},
    }
    return {**identity, "digest": digest_of(identity), "packages": package_versions(), "command": _command()}


def digest_of(identity: Mapping[str, Any]) -> str:
    """Of the stage, version, section and inputs of a :func:`provenance`."""
    return sha256_bytes(json.dumps(identity, sort_keys=True).encode())


def _command() -> str:
    """As it can be pasted into a shell."""
    program = Path(sys.argv[0])
    name = "augment" if program.match("augment/cli.py") else program.name
    return shlex.join([name, *sys.argv[1:]])


def finished(path: Path, origin: Mapping[str, Any]) -> Manifest | None:
    """The table at ``path`` if it was made under the same digest and all its files are unchanged."""
    made = made_under(path, origin)
    return made if made is not None and verify(made).empty else None


def size_of_shards(asked: ShardSize, count: int, seconds_each: float) -> int:
    """How many of ``count`` ids a shard has, where an id takes ``seconds_each``.

    "auto": a sixteenth of them, but at least a second of work, beside which the tenths that a task of Prefect and a
    cluster cost are little, and at most ten, which a killed worker may lose.
    """
    if asked != "auto":
        return asked
    return math.ceil(min(max(count / 16, 1 / seconds_each), 10 / seconds_each))


def run_shards(
    kind: str,
    path: Path,
    origin: Mapping[str, Any],
    ids: Sequence[str],
    work: Work,
    *,
    id_column: str = "id",
    spread: Spread = one_by_one,
    shard_size: int = 1000,
    unit: str = "images",
    files: Callable[[str], Sequence[str]] = no_files,
    whole: bool = False,
) -> Manifest:
    """Make the table ``path`` with one or more rows for each of ``ids``, computing only what is missing.

    ``work(ids, folder=...)`` returns the rows of some ids, given in ``id_column``. It must be picklable, must not
    depend on how ids are grouped, and writes its files before it returns. ``files(id)``: paths, relative to the folder,
    of further files of an id; they are verified like those of the rows. Every finished shard is kept in
    ``<folder>/.parts`` until the table is written. ``whole``: a shard is written to one file, so it is made as a whole.
    """
    folder = path.parent
    parts = folder / ".parts" / origin["digest"][:16]
    made = made_under(path, origin)
    found = [] if made is None else [made]
    found += readable(sorted(parts.glob("*.parquet")))
    hashes = {name: sha256 for manifest in found for name, sha256 in manifest.files.items()}
    known = to_table(kind, [])
    for manifest in found:  # parts outlive the table where they could not be deleted: their ids are in both
        rows = _rows(manifest)
        known = pa.concat_tables([known, _without(rows, pc.is_in(rows[id_column], known[id_column]))])
    known = _without(known, pc.invert(pc.is_in(known[id_column], pa.array(ids, pa.string()))))
    known = _undamaged(known, folder, id_column, files, hashes)
    done = set(known[id_column].to_pylist())
    missing = [id for id in ids if id not in done]
    if made is not None and not missing and len(known) == made.num_rows:
        remove_folder(parts)
        return made

    if whole:
        shards = [shard for shard in _cut(ids, shard_size) if not done.issuperset(shard)]
        again = {id for shard in shards for id in shard}
        known = _without(known, pc.is_in(known[id_column], pa.array(again, pa.string())))
        done -= again
    else:
        shards = _cut(missing, shard_size)
    shard_work = partial(_work_shard, kind=kind, parts=parts, origin=origin, work=work, folder=folder,
                         id_column=id_column, files=files)  # fmt: skip
    tables = [known]
    with progress(origin["stage"], total=len(ids), done=len(done), unit=unit) as advance:
        for part in spread(shard_work, shards):
            manifest = read_manifest(part, kind)
            tables.append(_rows(manifest))
            hashes |= manifest.files
            advance(len(set(tables[-1][id_column].to_pylist())))
    side_files = {name: hashes[name] for id in ids for name in files(id) if name in hashes}
    release_unused()
    manifest = write_manifest(path, kind, sort_rows(kind, pa.concat_tables(tables)), origin, side_files)
    remove_folder(folder / ".parts")
    return manifest


def _cut(ids: Sequence[str], size: int) -> list[Sequence[str]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def begun_shards(folder: Path, origin: Mapping[str, Any], id_column: str = "id") -> Begun:
    """What an interrupted :func:`run_shards` of this provenance has finished: the number of distinct ``id_column``."""
    done: set[str] = set()
    for part in readable((folder / ".parts" / origin["digest"][:16]).glob("*.parquet")):
        done.update(part.columns(id_column)[id_column].to_pylist())
    return Begun(len(done))


def _work_shard(ids: Sequence[str], *, kind: str, parts: Path, origin: Mapping[str, Any], work: Work, folder: Path,
                id_column: str, files: Callable[[str], Sequence[str]]) -> Path:  # fmt: skip
    """Compute a shard and write its rows; the part's name is a hash of its ids, the same on any worker."""
    table = to_table(kind, work(list(ids), folder=folder))
    lost = set(ids) - set(table[id_column].to_pylist())
    if lost:
        raise AugmentError(f"{kind}: no row came back for {min(lost)} and {len(lost) - 1} more.")
    name = sha256_bytes(json.dumps(list(ids)).encode())[:16]
    hashes = hashes_of(folder, [file for id in ids for file in files(id)])
    return write_manifest(parts / f"{name}.parquet", kind, table, origin, hashes).path


def readable(paths: Iterable[Path]) -> Iterator[Manifest]:
    """The tables that are intact. A damaged table counts as absent: its rows are made again."""
    for path in paths:
        try:
            yield read_manifest(path)
        except Refused:
            raise
        except AugmentError:
            say(f"{path}: damaged; its rows are made again.")


def _rows(manifest: Manifest) -> pa.Table:
    return manifest.table.replace_schema_metadata(None)


def made_under(path: Path, origin: Mapping[str, Any]) -> Manifest | None:
    """The manifest at ``path`` if it has this digest; a damaged manifest counts as absent."""
    manifest = next(readable([path]), None) if path.exists() else None
    if manifest is None or manifest.provenance.get("digest") != origin["digest"]:
        return None
    return manifest


def _undamaged(table: pa.Table, folder: Path, id_column: str, files: Callable[[str], Sequence[str]],
               hashes: Mapping[str, str]) -> pa.Table:  # fmt: skip
    """The rows of those ids whose files are all unchanged."""
    ids = dict.fromkeys(table[id_column].to_pylist())
    # A table of an earlier version lists none and is accepted as it is.
    others = ((id, name, hashes[name]) for id in ids for name in files(id) if name in hashes)
    listed = chain(others, files_of_rows(table, id_column))
    damaged = {id for id, _ in problems_of(folder, listed)}
    return _without(table, pc.is_in(table[id_column], pa.array(damaged, pa.string())))


def _without(table: pa.Table, dropped: pa.ChunkedArray) -> pa.Table:
    """The other rows; no copy where none is dropped."""
    return table.filter(pc.invert(dropped)) if pc.any(dropped).as_py() else table
