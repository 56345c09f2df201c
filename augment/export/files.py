"""Images on their way out: read against their hash, placed by hard link, described in one table."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from augment.base.errors import AugmentError
from augment.base.files import atomic_write, read_stored, sha256_bytes, sha256_file
from augment.base.images import decode_image, encode_jpeg, is_upright

Advance = Callable[[int], None]  # counts images that are out

# Beside every image, whatever the format. ``pid`` is the label; ``certainty``: its probability where labels are
# soft, else 1. ``source`` leads to the person of a synthetic image.
METADATA = pa.schema([
    ("id", pa.string()), ("split", pa.string()), ("pid", pa.int32()), ("camid", pa.int16()),
    ("synthetic", pa.bool_()), ("source", pa.string()), ("pose_source", pa.string()), ("rank", pa.int8()),
    ("width", pa.int32()), ("height", pa.int32()), ("sha256", pa.string()), ("certainty", pa.float32()),
])  # fmt: skip


def metadata(rows: pd.DataFrame) -> pa.Table:
    """The columns of :data:`METADATA`."""
    return pa.Table.from_pandas(rows[METADATA.names], METADATA, preserve_index=False).replace_schema_metadata(None)


def records(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The metadata of each image, one at a time."""
    for batch in metadata(rows).to_batches(max_chunksize=1000):
        yield from batch.to_pylist()


def read_jpeg(file: str, sha256: str) -> bytes:
    """The bytes of an image; one that is no JPEG, or stands upright by EXIF only, is encoded anew: readers go by the
    ending, and many overlook the orientation.

    Raises :class:`AugmentError` where the file is gone or not as the run's table says.
    """
    try:
        data = read_stored(Path(file))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AugmentError(f"{file}: {reason}. The run's command, given again, remakes what is gone.") from None
    if sha256_bytes(data) != sha256:
        raise AugmentError(f"{file}: its content has changed since the run. Give the run's command again.")
    return data if data.startswith(b"\xff\xd8") and is_upright(data) else encode_jpeg(decode_image(data))


def place(file: str, sha256: str, target: Path) -> None:
    """Put an image at ``target``: by hard link where the file system can, else as a copy. One that is there is kept."""
    if target.exists() and sha256_file(target) == sha256:
        return
    data = read_jpeg(file, sha256)
    target.unlink(missing_ok=True)
    if sha256_bytes(data) == sha256:
        try:
            os.link(os.path.realpath(file), target)  # a link to a link would lead elsewhere from there
            return
        except OSError:  # another disk, another owner, a file system without links
            pass
    with atomic_write(target, sync=False) as out:
        out.write(data)
