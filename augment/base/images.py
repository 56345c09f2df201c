"""Images from untrusted sources: decoded within limits, upright, as RGB; and encoded."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from augment.base.errors import AugmentError
from augment.base.files import read_stored

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of R, G, B in 0..1

# A person crop has thousands of pixels. The limits reject a decompression bomb before anything is decoded.
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
