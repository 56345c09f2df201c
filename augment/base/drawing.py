"""Visualisation: a skeleton on an image, and images in a grid. Everything is uint8 RGB (H, W, 3)."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Right, left and middle of the body in colour-blind safe colours (Okabe and Ito's palette).
RIGHT = (230, 159, 0)
LEFT = (86, 180, 233)
MIDDLE = (240, 228, 66)

# Two joints of the 18 (OpenPose's order) and the colour of the bone between them.
BONES = (
    (1, 0, MIDDLE), (0, 14, RIGHT), (14, 16, RIGHT), (0, 15, LEFT), (15, 17, LEFT),
    (1, 2, RIGHT), (2, 3, RIGHT), (3, 4, RIGHT), (1, 5, LEFT), (5, 6, LEFT), (6, 7, LEFT),
    (1, 8, RIGHT), (8, 9, RIGHT), (9, 10, RIGHT), (1, 11, LEFT), (11, 12, LEFT), (12, 13, LEFT),
)  # fmt: skip

_SHIFT = 4  # OpenCV draws at sixteenths of a pixel


def draw_pose(joints: np.ndarray, size: tuple[int, int], image: np.ndarray | None = None) -> np.ndarray:
    """Draw a skeleton: the person's right side orange, the left side blue, the middle yellow.

    ``joints`` (18, 2) are x, y in pixels of a picture of ``size`` (H, W); NaN or infinite where missing.
    On a copy of ``image`` (uint8, of that size), or on dark grey. Returns uint8 (H, W, 3).
    Raises ValueError where the image has another size.
    """
    height, width = size
    if image is None:
        canvas = np.full((height, width, 3), 32, np.uint8)
    elif image.shape != (height, width, 3):
        raise ValueError(f"the image is {image.shape}, the pose is for {(height, width, 3)}")
    else:
        canvas = np.array(image, np.uint8, order="C")
    joints = np.asarray(joints, np.float64).reshape(18, 2)
    present = np.asarray(np.isfinite(joints).all(axis=1))
    # A joint far outside still gives its bone a direction; the limit keeps OpenCV's integers from overflowing.
    limit = 16.0 * max(size)
    points = np.round(np.clip(np.where(present[:, None], joints, 0.0), -limit, limit) * 2**_SHIFT).astype(int)
    thickness = max(1, round(width / 32))
    for start, end, colour in BONES:
        if present[start] and present[end]:
            cv2.line(canvas, points[start].tolist(), points[end].tolist(), colour, thickness, cv2.LINE_AA, _SHIFT)
    radius = max(1.5, width / 40)
    for point in points[present].tolist():
        cv2.circle(canvas, point, round(radius * 2**_SHIFT), (255, 255, 255), -1, cv2.LINE_AA, _SHIFT)
    return canvas


def write_text(text: str, width: int, height: int = 16) -> np.ndarray:
    """Black on white, uint8 (height, width, 3); a text too long for the width is cut off."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((1, height // 2), text, "black", ImageFont.load_default(11), anchor="lm")
    return np.asarray(image)


def image_grid(rows: Sequence[Sequence[np.ndarray | None]], *, gap: int = 4,
               background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:  # fmt: skip
    """Put uint8 images (H, W, 3) of any sizes in a grid; None leaves a place empty, rows may differ in length.

    A column is as wide as its widest image, a row as high as its highest; smaller images are centred, with a margin of
    ``gap`` pixels of ``background``. Raises ValueError where there is no image at all.
    """
    if not any(image is not None for row in rows for image in row):
        raise ValueError("no image to put in the grid")
    columns = max(len(row) for row in rows)
    heights = [max((image.shape[0] for image in row if image is not None), default=0) for row in rows]
    widths = [
        max((image.shape[1] for row in rows for image in row[column : column + 1] if image is not None), default=0)
        for column in range(columns)
    ]
    canvas = np.empty((sum(heights) + gap * (len(rows) + 1), sum(widths) + gap * (columns + 1), 3), np.uint8)
    canvas[:] = background
    top = gap
    for row, row_height in zip(rows, heights, strict=True):
        left = gap
        for image, column_width in zip(row, widths, strict=False):
            if image is not None:
                height, width = image.shape[:2]
                y, x = top + (row_height - height) // 2, left + (column_width - width) // 2
                canvas[y : y + height, x : x + width] = image
            left += column_width + gap
        top += row_height + gap
    return canvas
