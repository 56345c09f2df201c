"""Formats with many images per file: webdataset's tar shards, and parquet with the encoded images."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from augment.base.files import atomic_write
from augment.export.files import METADATA, Advance, metadata, read_jpeg, records
from augment.export.selection import Selection

PER_SHARD = 1000  # images; what an interrupted export does again at most
_ROW_GROUP = 100  # images of a parquet file that are in memory at once

# By this ``datasets`` knows that the column holds pictures.
_FEATURES = {"image": {"_type": "Image"}} | {
    field.name: {"dtype": "bool" if pa.types.is_boolean(field.type) else str(field.type), "_type": "Value"}
    for field in METADATA
}
_SCHEMA = pa.schema(
    [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), *METADATA],
    {"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


def write_webdataset(selection: Selection, folder: Path, advance: Advance) -> None:
    """``<split>-000000.tar``, with ``<key>.jpg`` and ``<key>.json`` for every image."""
    for split in selection.splits:
        for number, rows in enumerate(_shards(selection.of(split))):
            path = folder / f"{split}-{number:06d}.tar"
            if not path.exists():
                with atomic_write(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
                    for image, known in _images(rows):
                        key = known["name"].removesuffix(".jpg")
                        _add(tar, f"{key}.jpg", image)
                        _add(tar, f"{key}.json", json.dumps({name: known[name] for name in METADATA.names}).encode())
            advance(len(rows))


def write_parquet(selection: Selection, folder: Path, advance: Advance) -> None:
    """``data/<split>-00000-of-00002.parquet``: the column ``image`` in the format of ``datasets``, and a column for
    each field of the metadata."""
    for split in selection.splits:
        shards = list(_shards(selection.of(split)))
        for number, rows in enumerate(shards):
            path = folder / "data" / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
            if not path.exists():
                with atomic_write(path) as file, pq.ParquetWriter(file, _SCHEMA) as writer:
                    for start in range(0, len(rows), _ROW_GROUP):
                        writer.write_table(_row_group(rows[start : start + _ROW_GROUP]))
            advance(len(rows))


def _shards(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The images in a reproducible random order: shards are read sequentially, and adjacent images of the same person
    make poor batches."""
    order = [hashlib.sha256(id.encode()).digest() for id in rows["id"]]
    rows = rows.assign(order=order).sort_values("order").drop(columns="order")
    for start in range(0, len(rows), PER_SHARD):
        yield rows[start : start + PER_SHARD]


def _images(rows: pd.DataFrame) -> Iterator[tuple[bytes, dict]]:
    for file, name, known in zip(rows["file"], rows["name"], records(rows), strict=True):
        yield read_jpeg(file, known["sha256"]), known | {"name": name}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner 0, time 0: the same images give the same bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _row_group(rows: pd.DataFrame) -> pa.Table:
    images = [{"bytes": data, "path": known["name"]} for data, known in _images(rows)]
    table = metadata(rows).add_column(0, _SCHEMA.field("image"), pa.array(images, _SCHEMA.field("image").type))
    return table.cast(_SCHEMA)
