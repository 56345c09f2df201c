"""Manifests: one parquet table per kind of artifact, with an explicit schema, its provenance and a seal.

The seal is a SHA-256 over everything else in the table. It is verified whenever the table is read.
Paths in a table are relative to the table's folder, POSIX. Rows are sorted, so the same work gives the same bytes.
Rows that failed stay, with ``status`` "failed" and a ``reason``. docs/manifests.md lists every column.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial, reduce
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from augment.base.errors import AugmentError, out_of_memory
from augment.base.files import atomic_write, is_regular_file, sha256_file, stored_file
from augment.base.memory import release_unused
from augment.base.seals import seal_of_columns, seal_of_table
from augment.base.storage import copies
from augment.base.storage.addresses import is_copy

# Major: a reader of an older one must refuse; minor: something was added. 1.1: the seal; 1.2: the digest in the header
SCHEMA_VERSION = (1, 2)
_HEADER, _SEAL = b"augment", b"augment.sha256"

_FILE = [("id", pa.string()), ("path", pa.string()), ("sha256", pa.string()), ("width", pa.int32()),
         ("height", pa.int32()), ("status", pa.string()), ("reason", pa.string())]
_JOINTS = pa.list_(pa.field("element", pa.float32()), 18)  # as parquet calls them: the name is a part of the digest

SCHEMAS: dict[str, pa.Schema] = {
    "images": pa.schema([
        *_FILE, ("split", pa.string()), ("pid", pa.int32()), ("camid", pa.int16()), ("sequence", pa.int16()),
        ("frame", pa.int32()),
    ]),
    "poses": pa.schema([
        *_FILE, ("x", _JOINTS), ("y", _JOINTS), ("confidence", _JOINTS), ("people", pa.int16()),
        ("estimator", pa.string()), ("checkpoint", pa.string()), ("accepted", pa.bool_()), ("verdict", pa.string()),
    ]),
    "pairs": pa.schema([("from", pa.string()), ("to", pa.string()), ("split", pa.string())]),
    "checkpoints": pa.schema([
        ("id", pa.string()), ("path", pa.string()), ("sha256", pa.string()), ("status", pa.string()),
        ("reason", pa.string()), ("role", pa.string()), ("iteration", pa.int64()), ("system", pa.string()),
        ("config_digest", pa.string()), ("losses", pa.string()), ("parent", pa.string()),
    ]),
    "synthetic": pa.schema([
        *_FILE, ("pid", pa.int32()), ("camid", pa.int16()), ("source", pa.string()), ("pose_source", pa.string()),
        ("pose_pid", pa.int32()), ("rank", pa.int8()), ("seed", pa.int64()), ("checkpoint", pa.string()),
        ("kept", pa.bool_()), ("verdict", pa.string()),
    ]),
    "scores": pa.schema([
        ("id", pa.string()), ("similarity", pa.float32()), ("margin", pa.float32()), ("pose", pa.float32()),
        ("person", pa.float32()), ("sharpness", pa.float32()),
    ]),
    "metrics": pa.schema([
        ("run", pa.string()), ("arm", pa.string()), ("seed", pa.int64()), ("metric", pa.string()),
        ("value", pa.float64()),
    ]),
    "stimuli": pa.schema([
        *_FILE, ("generated", pa.bool_()), ("training", pa.bool_()), ("source", pa.string()), ("target", pa.string()),
    ]),
    "answers": pa.schema([
        ("id", pa.string()), ("user", pa.string()), ("place", pa.int16()), ("stimulus", pa.string()),
        ("generated", pa.bool_()), ("training", pa.bool_()), ("said_generated", pa.bool_()), ("shown_ms", pa.float64()),
        ("reaction_ms", pa.float64()),
    ]),
}  # fmt: skip

# Rows of a row group: what a shard's few rows cost to read, whatever the size of the table.
_ROW_GROUP = 1 << 14
# A table of more rows is checked piece by piece when it is opened; who needs all of it reads it then.
_KEPT_ROWS = 1 << 17

SORT_KEYS = {"pairs": ["split", "from", "to"], "metrics": ["run", "arm", "seed", "metric"]}  # the others: id

_REMEDY = "Delete it and run the stage again."
_OTHER_FILE = "A manifest is a .parquet file in a run's folder."
_PACKAGES = ("reid-augment", "torch", "torchvision", "prefect", "pandas", "pyarrow", "openpifpaf", "torchreid", "click")


@dataclass(frozen=True)
class Manifest:
    """A table on disk. Cheap to pass around, to other processes too: it holds the path and reads on first use.

    A pickled one is bound to the content of the table: reading it elsewhere fails where the file is another one.
    """

    path: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return _bound, (self.path, self._seal)

    @cached_property
    def _seal(self) -> bytes | None:
        return _metadata(self.path).get(_SEAL)

    @cached_property
    def table(self) -> pa.Table:
        """The rows with their schema."""
        self._check_bound()
        return cast(pa.Table, _checked(self.path, kept_rows=None))

    def columns(self, *names: str) -> pa.Table:
        """Some columns of all rows; of a table that is not in memory only these are read.

        As of :meth:`rows`, the seal is not checked.
        """
        if "table" in self.__dict__:
            return self.table.select(names)
        self._check_bound()
        _check_there(self.path)
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                return file.read(names).select(names)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.path, error) from None

    @cached_property
    def num_rows(self) -> int:
        """Rows of the table, without reading them."""
        return len(self.table) if "table" in self.__dict__ else _footer(self.path).num_rows

    def rows(self, ids: Sequence[str]) -> pd.DataFrame:
        """The rows of some ids, in the order of ``ids`` and indexed by them; of the file only what holds them is read.

        Raises KeyError where an id has no row. Page checksums are checked, the seal over the whole table is not:
        the code that passes ids on has read that.
        """
        if not len(ids):
            return self.table.slice(0, 0).to_pandas().set_index("id", drop=False)
        return self._some(ids).to_pandas().set_index("id", drop=False).loc[list(ids)]

    def row(self, id: str) -> dict[str, Any] | None:
        """The row of an id in plain types, or None; read as :meth:`rows` does, within a second whatever the size."""
        return next(iter(self._some([id]).to_pylist()), None) if "id" in SCHEMAS[self.kind].names else None

    def _some(self, ids: Sequence[str]) -> pa.Table:
        self._check_bound()
        id = pc.field("id")
        wanted = (id >= min(ids)) & (id <= max(ids)) & id.isin(pa.array(ids, pa.string()))
        try:
            return pq.read_table(self.path, filters=wanted, partitioning=None, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.path, error) from None

    def _check_bound(self) -> None:
        if "_seal" in self.__dict__ and _metadata(self.path).get(_SEAL) != self._seal:
            raise AugmentError(f"{self.path}: differs from the table where the work was handed out. Every worker "
                               "needs the run's folder, under the same path.")  # fmt: skip

    @property
    def kind(self) -> str:
        """Which of :data:`SCHEMAS` it is."""
        return self._metadata["kind"]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over kind, schema and rows: what a stage that reads this table depends on.

        The location of files (``path``) and the provenance are left out: artifacts count by content.
        """
        return self._metadata.get("content") or content_digest(self.kind, self.table)  # 1.1 had none

    @property
    def provenance(self) -> dict[str, Any]:
        """Stage, its configuration and digest, digests of inputs, versions, command."""
        return self._metadata["provenance"]

    @property
    def files(self) -> dict[str, str]:
        """Further files made with the table: path relative to its folder -> SHA-256."""
        return self._metadata.get("files", {})

    @property
    def _metadata(self) -> dict[str, Any]:
        if "table" not in self.__dict__:
            try:
                return json.loads(_metadata(self.path)[_HEADER])
            except (KeyError, ValueError):
                pass  # damaged: reading the table says in which way
        return json.loads(self.table.schema.metadata[_HEADER])

    def frame(self) -> pd.DataFrame:
        """The rows as pandas."""
        return self.table.to_pandas()

    def file_of(self, path: str) -> Path:
        """The file that a row's ``path`` names."""
        return self.path.parent / path


def content_digest(kind: str, table: pa.Table) -> str:
    """SHA-256 over the kind, column names and types, and rows in their order; ``path`` is left out."""
    names = [name for name in table.column_names if name != "path"]
    plain = table.select(names).replace_schema_metadata(None).combine_chunks()
    sink = _Hashed(kind.encode() + b"\0")
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return sink.digest.hexdigest()


class _Hashed(io.RawIOBase):
    """A file that keeps nothing of what is written but its SHA-256."""

    def __init__(self, start: bytes) -> None:
        self.digest = hashlib.sha256(start)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)


def joint_columns(table: pa.Table, *names: str) -> np.ndarray:
    """Columns of a poses table that hold 18 numbers a row -> (N, 18, columns) float32."""
    flat = [table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False) for name in names]
    return np.stack([column.reshape(-1, _JOINTS.list_size) for column in flat], axis=-1)


def to_table(kind: str, rows: pd.DataFrame | Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows -> a sorted table of the kind's schema. Raises ValueError on a missing, unknown or ill-typed column."""
    schema = SCHEMAS[kind]
    if not isinstance(rows, pd.DataFrame):
        rows = list(rows)
        rows = pd.DataFrame(rows) if rows else pd.DataFrame(columns=schema.names)
    missing, unknown = set(schema.names) - set(rows.columns), set(rows.columns) - set(schema.names)
    if missing or unknown:
        raise ValueError(f"{kind} rows: missing columns {sorted(missing)}, unknown columns {sorted(unknown)}")
    try:
        table = pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"{kind} rows: {error}") from error
    return sort_rows(kind, table)


def sort_rows(kind: str, table: pa.Table) -> pa.Table:
    """The rows in the kind's order. Raises ValueError where one is duplicated."""
    keys = SORT_KEYS.get(kind, ["id"])
    table = table.sort_by([(key, "ascending") for key in keys])
    before, after = (table.select(keys).slice(start, len(table) - 1) for start in (0, 1))
    same = [pc.or_(pc.equal(a, b).fill_null(False), pc.and_(a.is_null(), b.is_null()))
            for a, b in zip(before.columns, after.columns, strict=True)]  # fmt: skip
    duplicates = after.filter(reduce(pc.and_, same))
    if len(duplicates):
        raise ValueError(f"{kind} rows: {duplicates.slice(0, 1).to_pylist()[0]} is duplicated")
    return table


def write_manifest(path: Path, kind: str, rows: pd.DataFrame | Iterable[Mapping[str, Any]] | pa.Table,
                   provenance: Mapping[str, Any], files: Mapping[str, str] | None = None) -> Manifest:  # fmt: skip
    """Write a table atomically. ``files``: its :attr:`Manifest.files`."""
    table = rows if isinstance(rows, pa.Table) else to_table(kind, rows)
    fields = {"kind": kind, "schema_version": list(SCHEMA_VERSION), "provenance": dict(provenance),
              "content": content_digest(kind, table)}  # fmt: skip
    if files:
        fields["files"] = dict(files)
    header = json.dumps(fields, sort_keys=True).encode()
    table = table.replace_schema_metadata({_HEADER: header, _SEAL: seal_of_table(header, table)})
    with atomic_write(path) as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True, row_group_size=_ROW_GROUP)
    return Manifest(Path(path))


def read_manifest(path: Path, kind: str | None = None) -> Manifest:
    """Open a table; raises :class:`AugmentError` where it is absent, damaged, too new or of another kind."""
    manifest = Manifest(Path(path))
    table = _checked(manifest.path, kept_rows=_KEPT_ROWS)
    if table is not None:
        manifest.__dict__["table"] = table
    if kind not in (None, manifest.kind):
        raise AugmentError(f"{path}: is a manifest of {manifest.kind}, not of {kind}.")
    return manifest


def _bound(path: Path, seal: bytes | None) -> Manifest:
    manifest = Manifest(path)
    manifest.__dict__["_seal"] = seal
    return manifest


def _unreadable(path: Path, error: Exception) -> AugmentError:
    remedy = _REMEDY if path.suffix == ".parquet" else _OTHER_FILE
    return out_of_memory(error) or AugmentError(f"{path}: not readable as parquet ({error}). {remedy}")


def _footer(path: Path) -> pq.FileMetaData:
    """What parquet says of a table, without its rows."""
    _check_there(path)
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _metadata(path: Path) -> dict[bytes, bytes]:
    return _footer(path).metadata or {}


def _check_there(path: Path) -> None:
    if is_regular_file(path):
        return
    if not path.exists():
        raise AugmentError(f"{path}: no such manifest. Run the stage that makes it first.")
    if path.is_dir():
        tables = ", ".join(sorted(table.relative_to(path).as_posix() for table in path.glob("*/*.parquet"))[:8])
        raise AugmentError(f"{path}: is a folder, not a manifest. " + (f"It holds {tables}." if tables else
                           "Name a .parquet file."))  # fmt: skip
    raise AugmentError(f"{path}: is not a regular file. Move it away and run the stage again.")


# Whatever damage may lead to in pyarrow.
_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, MemoryError)


def _checked(path: Path, kept_rows: int | None) -> pa.Table | None:
    """A table after all checks; None where it has more than ``kept_rows``: then it is never in memory as a whole."""
    _check_there(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata = file.metadata.metadata or {}  # the arrow schema in the file has a copy, which may be damaged
            kept = kept_rows is None or file.metadata.num_rows <= kept_rows
            table = file.read().replace_schema_metadata(metadata) if kept else None
            _check_schema(path, file.schema_arrow.with_metadata(metadata))
            if _SEAL in metadata and metadata[_SEAL] != _seal_of(file, metadata[_HEADER], table).encode():
                raise AugmentError(f"{path}: damaged: its rows or its header are not what was written. {_REMEDY}")
    except _DAMAGE as error:
        raise _unreadable(path, error) from None
    if table is None:
        release_unused()
    return table


def _seal_of(file: pq.ParquetFile, header: bytes, table: pa.Table | None) -> str:
    if table is not None:
        return seal_of_table(header, table)

    def pieces(name: str) -> Iterator[pa.Array]:
        return (batch.column(0) for batch in file.iter_batches(_ROW_GROUP, columns=[name]))

    columns = ((field.name, field.type, partial(pieces, field.name)) for field in file.schema_arrow)
    return seal_of_columns(header, file.metadata.num_rows, columns)


def _check_schema(path: Path, schema: pa.Schema) -> None:
    """Raise :class:`AugmentError` where this is not the schema of a table that can be read here."""
    metadata = schema.metadata or {}
    if _HEADER not in metadata:
        raise AugmentError(f"{path}: a parquet file, but not a manifest of this program.")
    try:
        header = json.loads(metadata[_HEADER])
        kind, (major, minor), _ = header["kind"], header["schema_version"], header["provenance"].items()
        unsealed = (major, minor) >= (1, 1) and _SEAL not in metadata
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AugmentError(f"{path}: its header is damaged. {_REMEDY}") from None
    if major > SCHEMA_VERSION[0]:
        raise AugmentError(
            f"{path}: schema version {major} is newer than the {SCHEMA_VERSION[0]} read here. Update reid-augment."
        )
    if kind not in SCHEMAS:
        raise AugmentError(f"{path}: is a manifest of {kind}, which this version does not know. Update reid-augment.")
    for field in SCHEMAS[kind]:
        if schema.names.count(field.name) != 1 or schema.field(field.name).type != field.type:
            raise AugmentError(f"{path}: its column {field.name} is absent or not of type {field.type}. {_REMEDY}")
    if unsealed:
        raise AugmentError(f"{path}: damaged: its rows or its header are not what was written. {_REMEDY}")


def verify(manifest: Manifest) -> pd.DataFrame:
    """Check every file of a manifest against its hash; returns a row (id, problem) for each that fails.

    The id of a file in :attr:`Manifest.files` is its path.
    """
    side_files = ((path, path, sha256) for path, sha256 in manifest.files.items())
    named = [name for name in ("id", "path", "sha256", "status") if name in SCHEMAS[manifest.kind].names]
    problems = [
        {"id": id, "problem": problem}
        for id, problem in problems_of(manifest.path.parent,
                                       chain(side_files, files_of_rows(manifest.columns(*named), "id")))
    ]
    return pd.DataFrame(problems, columns=["id", "problem"])


def problems_of(folder: Path, files: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    """Id and problem of those of the files (id, path relative to the folder, SHA-256) that have one."""
    listed: set[str] = set()
    files = iter(files)
    while some := list(islice(files, 10_000)):
        stored = {parent for parent in {os.path.dirname(path) for _, path, _ in some} if is_copy(folder / parent)}
        for parent in stored - listed:
            copies.sizes(folder / parent)  # what is no longer as in the storage must not count
        listed |= stored
        if stored:
            copies.fetch_all(stored_file(folder / path) for _, path, _ in some)
        for id, path, sha256 in some:
            if problem := file_problem(folder, path, sha256):
                yield id, problem


def files_of_rows(table: pa.Table, id_column: str) -> Iterator[tuple[str, str, str]]:
    """Id, path and SHA-256 of every row that has a hash; nothing of a kind of table that names no files.

    That of a failed row is of the content that could not be used, empty where the file could not be read.
    """
    if "sha256" not in table.column_names:
        return
    for batch in table.select([id_column, "path", "sha256"]).to_batches(max_chunksize=10_000):
        columns = (column.to_pylist() for column in batch.columns)
        yield from ((id, path, sha256) for id, path, sha256 in zip(*columns, strict=True) if sha256 is not None)


def file_problem(folder: Path, path: str, sha256: str) -> str | None:
    """What is wrong with the file of a row, or None. An empty hash: it could not be read, so it is if it can be."""
    if not sha256:
        return f"{path}: can be read now" if _is_readable(folder / path) else None
    try:
        return None if sha256_file(folder / path) == sha256 else f"{path}: its content has changed"
    except FileNotFoundError:
        return f"{path}: is gone"
    except (OSError, ValueError) as error:  # ValueError: a null byte
        return f"{path}: {getattr(error, 'strerror', error)}"


def _is_readable(file: Path) -> bool:
    try:
        return bool(sha256_file(file))
    except (OSError, ValueError):
        return False


def relative_path(file: Path, folder: Path) -> str:
    """``file`` as a POSIX path relative to ``folder``."""
    return Path(os.path.relpath(file, folder)).as_posix()


@cache
def package_versions() -> dict[str, str]:
    """Versions of this program and of the packages that can change a result."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
