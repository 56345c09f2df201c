"""Files: atomic writes, hashes, and images from untrusted sources.

A path may be that of a copy of an object (:mod:`augment.base.storage`): it is fetched before it is read, and written to
its storage first.
"""

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from augment.base.errors import AugmentError, Refused, UsageError, refusal
from augment.base.storage import copies
from augment.base.storage.addresses import is_copy

_PART = re.compile(r"(?P<file>.+\.(?:tar|parquet))#(?P<start>\d+)\+(?P<size>\d+)")

# A person crop has thousands of pixels. The limits reject a decompression bomb before anything is decoded.
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 4096 * 4096
MIN_EDGE, MAX_RATIO = 4, 32  # smaller or narrower is no picture of anybody, and no network takes it

# Formats of data sets. Pillow would pass some others to external programs (EPS to Ghostscript).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")

# EXIF's orientation -> what turns the pixels upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_BAD_METADATA = (struct.error, TypeError, KeyError, IndexError, OverflowError)  # what Pillow raises of some

_PARTIAL = ".partial"
_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.partial", re.DOTALL)  # as tempfile names them


def is_regular_file(path: Path) -> bool:
    """Whether it is a regular file: no folder, and no pipe or device, which may block its reader for ever."""
    _fetch(path)
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
    _fetch(path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local(path: Path) -> Path:
    """A path that other libraries may open: of a copy, brought up to date. There need not be a file."""
    _fetch(path)
    return path


def _fetch(path: Path) -> None:
    if is_copy(path):
        copies.fetch(path)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to read. Raises OSError where there is none, or a pipe or device, which might never end."""
    _fetch(path)
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115  the caller closes it
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "not a regular file", str(path))


@contextmanager
def _told_where_refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(refused := refusal(error, path), Refused):
            raise refused from error
        raise


def read_file(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file. Raises OSError as :func:`open_file` does, ValueError where it has too many.

    :class:`Refused` where the system cannot open any file now, or the disk fails.
    """
    with _told_where_refused(path), open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{size} bytes is too large (limit {limit})")
        return file.read()


def stored_file(path: Path) -> Path:
    """The file that a path of :func:`read_stored` is in."""
    part = _PART.fullmatch(path.name)
    return path if part is None else path.with_name(part["file"])


def read_stored(path: Path) -> bytes:
    """The bytes of a file, or of a part of a tar or parquet file: ``0001.tar#1536+4312`` is 4,312 bytes from byte 1,536
    on. Raises what :func:`read_file` does."""
    part = _PART.fullmatch(path.name)
    if part is None:
        return read_file(path)
    with _told_where_refused(path), open_file(path.with_name(part["file"])) as file:
        if int(part["size"]) > MAX_BYTES:
            raise ValueError(f"{part['size']} bytes is too large (limit {MAX_BYTES})")
        file.seek(int(part["start"]))
        return file.read(int(part["size"]))


def stored_size(path: Path) -> int:
    """How many bytes :func:`read_stored` returns; 0 where there is no such file."""
    if (part := _PART.fullmatch(path.name)) is not None:
        return int(part["size"])
    return path.stat().st_size if path.is_file() else 0


class _Remembering(io.FileIO):
    """A file that remembers why a write failed: torch and numpy tell something else."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def atomic_write(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that replaces it, synced to disk, when the block succeeds.

    That of a copy is uploaded before. Readers of ``path`` see the old content or the new, never a part.
    Without ``sync`` a power cut may take what was written: for many small files that are checked and made again.
    Folders are made as needed. Where the system refuses (a full disk, no permission, ...) the error is an
    :class:`AugmentError` that names the path.
    """
    path = Path(path)
    temporary = raw = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL)
        raw = _Remembering(handle, "r+b")
        with io.BufferedRandom(raw) as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        if is_copy(path):
            copies.put(temporary, path)
        os.replace(temporary, path)
        temporary = None
    except Exception as error:
        cause = error if isinstance(error, OSError) else raw.failure if raw is not None else None
        if cause is not None and (refused := refusal(cause, path)) is not None:
            raise refused from error
        raise
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def remove(path: Path) -> None:
    """Remove a file, if there is one."""
    copies.remove(path)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that is possible."""
    copies.remove_below(folder)
    shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what :func:`atomic_write` left in a folder, not in those below, when its process was killed."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if _LEFTOVER.fullmatch(name):
                (folder / name).unlink(missing_ok=True)


def remove_begun(folder: Path, marker: Path) -> None:
    """Remove a folder that an earlier, unfinished work began, as a ``marker`` in it says.

    Raises :class:`UsageError` where there is a folder of that name without it, of another owner.
    """
    if folder.is_dir() and not marker.is_file() and any(folder.iterdir()):
        raise UsageError(f"{folder}: is in the way, and was not left by an interrupted export or import. Move it away.")
    shutil.rmtree(folder, ignore_errors=True)


def decode_image(data: bytes) -> np.ndarray:
    """Bytes of an image file -> uint8 RGB array (H, W, 3), upright as its EXIF orientation says; 16 bits become 8.

    Raises ValueError with the problem in a few words: empty, not an image, truncated, too large, of a kind
    whose values have no agreed meaning.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(image.width, image.height)
            return _pixels(image)
    except UnidentifiedImageError as error:
        raise ValueError("not an image") from error
    except Image.DecompressionBombError as error:
        raise ValueError("too large: more pixels than any person crop has") from error
    except (OSError, SyntaxError, EOFError, *_BAD_METADATA) as error:
        raise ValueError(f"damaged image: {error}") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels is too large (limit {MAX_PIXELS} in all): crop the person, or "
                         "scale it down")  # fmt: skip
    if min(width, height) < MIN_EDGE:
        raise ValueError(f"{width}x{height} pixels is too small (at least {MIN_EDGE} each way)")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ValueError(f"{width}x{height} pixels is too narrow (one side at most {MAX_RATIO} times the other)")


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):  # 16 bits of grey
        grey = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("its pixels are 32-bit or float numbers of no agreed range: save it with 8 or 16 bits")
    else:
        image.load()
        if (turn := _turn(image)) is not None:
            image = image.transpose(turn)
    return np.asarray(image.convert("RGB"))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What the EXIF data asks for; nothing where they cannot be read, which says nothing of the pixels.

    Pillow's ``exif_transpose`` writes the other tags back, and fails on some that cameras leave.
    """
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (OSError, ValueError, SyntaxError, *_BAD_METADATA):
        return None


def is_upright(data: bytes) -> bool:
    """Whether the pixels of an image file lie as they are to be seen, without a turn that its EXIF data asks for."""
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        return _turn(image) is None


def read_image(path: Path) -> np.ndarray:
    """An image file -> uint8 RGB array (H, W, 3). Raises :class:`AugmentError` that names the file."""
    try:
        return decode_image(read_stored(Path(path)))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AugmentError(f"{path}: cannot be read as an image: {reason}") from error


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """uint8 RGB array (H, W, 3) -> JPEG bytes, without chroma subsampling: crops are too small for it."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
