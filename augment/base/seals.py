"""Seals: a file's SHA-256 of its own content, so that damage is detected when the file is read."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augment.base.errors import AugmentError
from augment.base.files import atomic_write, is_regular_file, sha256_bytes

_MARK = b"\naugment-sha256:"
_TRAILER = len(_MARK) + 64
SEAL = "seal"  # key of a JSON object

#: A column piece by piece, anew at every call.
Chunks = Callable[[], Iterable[pa.Array]]


def seal_of_table(header: bytes, table: pa.Table) -> str:
    """SHA-256 over a header and all names and values of a table."""
    names_and_columns = zip(table.column_names, table.columns, strict=True)
    columns = ((name, column.type, partial(iter, column.chunks)) for name, column in names_and_columns)
    return seal_of_columns(header, len(table), columns)


def seal_of_columns(header: bytes, rows: int, columns: Iterable[tuple[str, pa.DataType, Chunks]]) -> str:
    """As :func:`seal_of_table`, of columns that need not be in memory as a whole: name, type, pieces.

    Values are hashed in a canonical form (the mask of nulls, then the values with nulls zeroed), so that neither a
    file's encoding, nor its row groups, nor the memory under a null matters.
    """
    digest = hashlib.sha256(header)
    for name, type, chunks in columns:
        digest.update(f"\0{name}\0{rows}\0".encode())
        for part in _canonical(type, chunks):
            digest.update(part)
    return digest.hexdigest()


def _canonical(type: pa.DataType, chunks: Chunks) -> Iterator[Any]:
    yield from (chunk.is_valid().cast(pa.uint8()).to_numpy() for chunk in chunks())
    if pa.types.is_string(type):
        yield from (pc.binary_length(chunk.fill_null("")).to_numpy() for chunk in chunks())
        yield from (_characters(chunk.fill_null("")) for chunk in chunks() if len(chunk))
    elif pa.types.is_fixed_size_list(type):
        yield from _canonical(type.value_type, lambda: (chunk.flatten() for chunk in chunks()))
    elif pa.types.is_boolean(type):
        yield from (chunk.fill_null(False).cast(pa.uint8()).to_numpy() for chunk in chunks())
    else:
        yield from (chunk.fill_null(0).to_numpy() for chunk in chunks())


def _characters(texts: pa.StringArray) -> pa.Buffer | bytes:
    """All of them together, without a copy."""
    _, offsets, characters = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]]
    return b"" if characters is None else characters.slice(ends[0], ends[1] - ends[0])


@contextmanager
def sealed_write(path: Path) -> Iterator[BinaryIO]:
    """As :func:`atomic_write`, for a zip archive (of ``torch.save`` or ``np.savez``); its hash is appended.

    torch.load and np.load ignore what follows the archive.
    """
    with atomic_write(path) as file:
        yield file
        file.flush()
        with open(file.fileno(), "rb", closefd=False) as written:
            written.seek(0)
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(_MARK + digest.encode())


def check_seal(path: Path) -> None:
    """Raise :class:`AugmentError` where a file of :func:`sealed_write` is not as it was written, or has no seal."""
    if not is_regular_file(path):
        raise AugmentError(f"{path}: no such file.")
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TRAILER))
        trailer = file.read()
        left, digest = size - _TRAILER, hashlib.sha256()
        file.seek(0)
        while left > 0 and (chunk := file.read(min(left, 2**20))):
            digest.update(chunk)
            left -= len(chunk)
    if trailer != _MARK + digest.hexdigest().encode():
        raise AugmentError(f"{path}: damaged: its content is not what was written.")


def is_whole(path: Path) -> bool:
    """Whether there is a file of :func:`sealed_write` as it was written."""
    try:
        check_seal(path)
    except (AugmentError, OSError):
        return False
    return True


def sealed_json(fields: Mapping[str, Any]) -> str:
    """A JSON object in one line that carries a hash of its other fields."""
    return json.dumps({**fields, SEAL: _seal_of_fields(fields)})


def read_sealed_json(text: str | bytes) -> dict[str, Any]:
    """The fields of a :func:`sealed_json`. Raises ValueError where it is damaged or has no seal."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    if fields.pop(SEAL, None) != _seal_of_fields(fields):
        raise ValueError("its content is not what was written")
    return fields


def _seal_of_fields(fields: Mapping[str, Any]) -> str:
    return sha256_bytes(json.dumps(fields, sort_keys=True).encode())[:32]
