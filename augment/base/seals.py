"""Seals: a file's SHA-256 of its own content, so that damage is detected when the file is read."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from augment.base.errors import AugmentError
from augment.base.files import atomic_write, is_regular_file, sha256_bytes

_MARK = b"\naugment-sha256:"
_TRAILER = len(_MARK) + 64
_ZIP_END, _ZIP_END_SIZE = b"PK\5\6", 22  # torch.save and np.savez write zip archives, which end so
SEAL = "seal"  # key of a JSON object


def seal_of_table(header: bytes, table: pa.Table) -> str:
    """SHA-256 over a header and all names and values of a table.

    Values are hashed in a canonical form (the mask of nulls, then the values with nulls zeroed), so that neither a
    file's encoding, nor its row groups, nor the memory under a null matters.
    """
    digest = hashlib.sha256(header)
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"\0{name}\0{len(column)}\0".encode())
        for part in _canonical(column.combine_chunks()):
            digest.update(part)
    return digest.hexdigest()


def _canonical(array: pa.Array) -> Iterator[Any]:
    yield array.is_valid().cast(pa.uint8()).to_numpy()
    if pa.types.is_string(array.type):
        array = array.fill_null("")
        yield pc.binary_length(array).to_numpy()
        yield pc.binary_join(pa.ListArray.from_arrays([0, len(array)], array), "")[0].as_buffer()
    elif pa.types.is_fixed_size_list(array.type):
        yield from _canonical(array.flatten())
    elif pa.types.is_boolean(array.type):
        yield array.fill_null(False).cast(pa.uint8()).to_numpy()
    else:
        yield array.fill_null(0).to_numpy()


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
    """Raise :class:`AugmentError` where a file of :func:`sealed_write` is not as it was written.

    An archive without a seal was written by an earlier version; it ends as zip archives do and is accepted.
    """
    if not is_regular_file(path):
        raise AugmentError(f"{path}: no such file.")
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TRAILER))
        trailer = file.read()
        if trailer[-_ZIP_END_SIZE:].startswith(_ZIP_END):
            return
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
    """The fields of a :func:`sealed_json`. Raises ValueError where it is damaged.

    An object without a seal was written by an earlier version and is taken as it is.
    """
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    if SEAL in fields and fields.pop(SEAL) != _seal_of_fields(fields):
        raise ValueError("its content is not what was written")
    return fields


def _seal_of_fields(fields: Mapping[str, Any]) -> str:
    return sha256_bytes(json.dumps(fields, sort_keys=True).encode())[:32]
