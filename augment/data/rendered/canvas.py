"""Primitives of a figure: tapered tubes and surfaces of revolution on an oversampled canvas."""

import cv2
import numpy as np

OVERSAMPLE = 2  # canvas pixels a picture pixel; averaged down afterwards
FRONT = 64  # the texture column that faces the camera when the body does
COLUMNS = 128  # of a texture that goes once around

_SHIFT, _UNIT = 4, 16  # OpenCV's fixed-point coordinates
_ROUND = np.linspace(-np.pi / 2, np.pi / 2, 7)
_CAP = np.stack([np.cos(_ROUND), np.sin(_ROUND)], axis=1)  # (7, 2): half a circle, along and across
_SHADES = ((1.0, 0.0, 0.72), (0.66, 0.28, 1.0))  # share of the radius, shift towards the light, brightness
_STRIP = 64
_ANGLES = np.arcsin(np.linspace(-0.999, 0.999, _STRIP))  # from the camera's direction, across a turned surface


def tube_outlines(starts: np.ndarray, ends: np.ndarray, radii: np.ndarray, light: float) -> np.ndarray:
    """Outlines of tapered tubes, round at both ends.

    starts, ends: (T, 2) picture pixels; radii: (T, 2) at either end. Returns (T, 2, 14, 2) canvas coordinates in fixed
    point: of each tube its shaded whole, and within it the brighter part towards the light (-1 left, 1 right).
    """
    along = ends - starts
    along = along / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)[:, None]
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    lit = normal * np.where(normal[:, :1] * light >= 0, 1.0, -1.0)
    outlines = np.empty((len(starts), 2, 14, 2))
    cap = _CAP[:, :1, None] * along + _CAP[:, 1:, None] * normal  # (7, T, 2)
    for number, (share, shift, _) in enumerate(_SHADES):
        for end, (centre, sign) in enumerate(((ends, 1.0), (starts, -1.0))):
            radius = radii[:, 1 - end, None]
            points = centre + lit * radius * shift + sign * share * radius * cap
            outlines[:, number, 7 * end : 7 * end + 7] = points.transpose(1, 0, 2)
    return fixed(outlines)


def fixed(points: np.ndarray) -> np.ndarray:
    """Picture coordinates -> OpenCV's fixed-point canvas coordinates."""
    return (((points + 0.5) * OVERSAMPLE - 0.5) * _UNIT + 0.5).astype(np.int32)


def fill_tube(canvas: np.ndarray, outlines: np.ndarray, colour: np.ndarray) -> None:
    """Fill one of :func:`tube_outlines`: (2, 14, 2)."""
    for outline, (_, _, shade) in zip(outlines, _SHADES, strict=True):
        cv2.fillConvexPoly(canvas, outline, (colour * shade).tolist(), cv2.LINE_AA, _SHIFT)


def fill_polygon(canvas: np.ndarray, points: np.ndarray, colour: np.ndarray) -> None:
    """Fill a convex outline (N, 2), picture pixels."""
    cv2.fillConvexPoly(canvas, fixed(points), colour.tolist(), cv2.LINE_AA, _SHIFT)


def fill_ellipse(canvas: np.ndarray, centre: np.ndarray, radii: tuple[float, float], colour: np.ndarray) -> None:
    """Fill an ellipse with a level axis, picture pixels."""
    axes = [round(radius * OVERSAMPLE * _UNIT) for radius in radii]
    cv2.ellipse(canvas, fixed(centre).tolist(), axes, 0, 0, 360, colour.tolist(), -1, cv2.LINE_AA, _SHIFT)


def darken_ground(canvas: np.ndarray, x: float, y: float, width: float, height: float) -> None:
    """A soft shadow on the ground, an ellipse of these half axes, picture pixels."""
    x, y, width, height = (value * OVERSAMPLE for value in (x, y, width, height))
    top, bottom = max(int(y - height), 0), min(int(y + height) + 1, canvas.shape[0])
    left, right = max(int(x - width), 0), min(int(x + width) + 1, canvas.shape[1])
    if bottom <= top or right <= left:
        return
    across = ((np.arange(left, right, dtype=np.float32) - x) / width) ** 2
    down = ((np.arange(top, bottom, dtype=np.float32) - y) / height) ** 2
    shade = 1 - 0.55 * np.clip(1.2 - across - down[:, None], 0, 1)[..., None]
    canvas[top:bottom, left:right] = canvas[top:bottom, left:right] * shade


def fill_turned(
    canvas: np.ndarray, axis: np.ndarray, half: np.ndarray, texture: np.ndarray, turn: float, light: float
) -> None:
    """Draw a surface of revolution seen from the side.

    axis: (N, 2) picture pixels down its middle, from the top, evenly spaced; half: (N,) its half width there;
    texture: (R, COLUMNS, 3), its rows spread evenly from top to bottom, column FRONT in front; turn: of the body.
    """
    axis, half = (axis + 0.5) * OVERSAMPLE - 0.5, half * OVERSAMPLE
    top, bottom = max(int(np.ceil(axis[0, 1])), 0), min(int(axis[-1, 1]), canvas.shape[0] - 1)
    left = max(int((axis[:, 0] - half).min()), 0)
    right = min(int((axis[:, 0] + half).max()) + 1, canvas.shape[1] - 1)
    if bottom <= top or right <= left:
        return
    y = np.arange(top, bottom + 1, dtype=np.float32)
    middle = np.interp(y, axis[:, 1], axis[:, 0]).astype(np.float32)[:, None]
    reach = np.interp(y, axis[:, 1], half).astype(np.float32)[:, None]
    row = (y - np.float32(axis[0, 1])) * np.float32((len(texture) - 1) / (axis[-1, 1] - axis[0, 1]))
    across = (np.arange(left, right + 1, dtype=np.float32) - middle) / reach

    columns = ((_ANGLES - turn) * (COLUMNS / (2 * np.pi)) + FRONT + 0.5).astype(int) % COLUMNS
    shade = (0.66 + 0.34 * np.cos(_ANGLES - 0.6 * light)).astype(np.float32)
    strip = np.minimum(texture[:, columns] * shade[:, None], 255).astype(np.uint8)
    half_strip = np.float32((_STRIP - 1) / 2)
    rows = np.repeat(row[:, None], across.shape[1], axis=1)
    patch = cv2.remap(strip, across * half_strip + half_strip, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cv2.copyTo(patch, (np.abs(across) <= 1).view(np.uint8), canvas[top : bottom + 1, left : right + 1])
