"""Files that hold the synthetic images of a shard: millions of small files are slow to list, to copy and to delete.

Each writer returns where the images lie in its file, as (start, size) in bytes, so that one is read without the others.
"""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from augment.base.files import atomic_write

_BLOCK = 512  # of a tar file


class Image(NamedTuple):
    """An image to write."""

    name: str  # without an ending
    jpeg: bytes
    known: dict[str, Any]  # what is said of it beside


Ranges = list[tuple[int, int]]


def write_tar(path: Path, images: Sequence[Image]) -> Ranges:
    """webdataset's form: ``<name>.jpg`` and ``<name>.json`` of every image."""
    ranges = []
    with atomic_write(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for image in images:
            for ending, data in (("json", json.dumps(image.known).encode()), ("jpg", image.jpeg)):
                member = tarfile.TarInfo(f"{image.name}.{ending}")  # owner 0, time 0: the same work, the same bytes
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            ranges.append((tar.offset - -(-len(image.jpeg) // _BLOCK) * _BLOCK, len(image.jpeg)))
    return ranges


def write_parquet(path: Path, images: Sequence[Image]) -> Ranges:
    """A table: ``name``, ``jpg`` (the bytes as they are, so that they can be found in the file), and what is known."""
    columns = {"name": [image.name for image in images], "jpg": pa.array([image.jpeg for image in images], pa.binary())}
    columns |= {key: [image.known[key] for image in images] for key in (images[0].known if images else ())}
    with atomic_write(path) as file:
        pq.write_table(pa.table(columns), file, compression="none", use_dictionary=False)
        file.seek(0)
        content = file.read()
    ranges, start = [], 0
    for image in images:
        start = content.index(image.jpeg, start)
        ranges.append((start, len(image.jpeg)))
        start += len(image.jpeg)
    return ranges


#: ``synthesis.format`` -> ending of the files and their writer.
CONTAINERS: dict[str, tuple[str, Callable[[Path, Sequence[Image]], Ranges]]] = {
    "webdataset": ("tar", write_tar),
    "parquet": ("parquet", write_parquet),
}
