"""Files: atomic writes, hashes, and images from untrusted sources."""

import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from augment.base.errors import AugmentError

_PART = re.compile(r"(?P<file>.+\.(?:tar|parquet))#(?P<start>\d+)\+(?P<size>\d+)")

# A person crop has thousands of pixels. The limit rejects a decompression bomb before anything is decoded.
MAX_PIXELS = 4096 * 4096

# Formats of data sets. Pillow would pass some others to external programs (EPS to Ghostscript).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")


def is_regular_file(path: Path) -> bool:
    """Whether it is a regular file: no folder, and no pipe or device, which may block its reader for ever."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return False


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of the content of a file, or of a part of one (:func:`read_stored`).

    Raises OSError where it cannot be read or is no regular file.
    """
    if _PART.fullmatch(path.name):
        return sha256_bytes(read_stored(path))
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_stored(path: Path) -> bytes:
    """The bytes of a file, or of a part of a tar or parquet file: ``0001.tar#1536+4312`` is 4,312 bytes from byte 1,536
    on. Raises OSError."""
    part = _PART.fullmatch(path.name)
    if part is None:
        return path.read_bytes()
    with open(path.with_name(part["file"]), "rb") as file:
        file.seek(int(part["start"]))
        return file.read(int(part["size"]))


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that replaces it, synced to disk, when the block succeeds.

    Readers of ``path`` see the old content or the new, never a part. A full disk or a missing permission is an
    :class:`AugmentError` that names the path.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AugmentError(f"{path}: the disk is full. Free some space and run the same command again.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise AugmentError(f"{path}: no permission to write there. Choose another output folder.") from error
        raise
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def decode_image(data: bytes) -> np.ndarray:
    """Bytes of an image file -> uint8 RGB array (H, W, 3).

    Raises ValueError with the problem in a few words: empty, not an image, truncated, too large.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels is too large (limit {MAX_PIXELS} in all)")
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise ValueError("not an image") from error
    except Image.DecompressionBombError as error:
        raise ValueError("too large: more pixels than any person crop has") from error
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"damaged image: {error}") from error


def read_image(path: Path) -> np.ndarray:
    """An image file -> uint8 RGB array (H, W, 3). Raises :class:`AugmentError` that names the file."""
    try:
        return decode_image(read_stored(Path(path)))
    except (OSError, ValueError) as error:
        raise AugmentError(f"{path}: cannot be read as an image: {error}") from error


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """uint8 RGB array (H, W, 3) -> JPEG bytes, without chroma subsampling: crops are too small for it."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
