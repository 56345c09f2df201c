"""Key points that cannot be those of their images, and the likely cause: another scale, x and y exchanged, shares."""

from pathlib import Path

import numpy as np

from augment.base.errors import AugmentError

_MARGIN = 0.1  # of an edge: an annotator places a cut-off joint a little outside
_MANY = 0.1  # of all joints
_SPREAD = 0.1  # of an edge: a person who fills so little of a crop is none
_ENOUGH = 8  # joints that show how large a person is


def check_joints(joints: np.ndarray, sizes: np.ndarray, path: Path) -> None:
    """Raise :class:`AugmentError` naming ``path`` where many joints lie outside their images, or all in one spot.

    joints: (N, 18, 2) x, y in pixels, NaN missing; sizes: (N, 2) width and height of the images.
    """
    relative = joints[..., :2] / sizes[:, None]
    present = ~np.isnan(relative).any(axis=2)
    if not present.any():
        return
    outside = _share_outside(relative)
    if outside > _MANY:
        raise AugmentError(
            f"{path}: {outside:.0%} of its joints lie outside their images{_cause(joints[..., :2], sizes)}. Give the "
            "key points of these very images: x to the right, y down, in pixels of the image file, -1 for missing."
        )
    whole = relative[present.sum(axis=1) >= _ENOUGH]
    if len(whole):
        spread = np.median((np.nanmax(whole, axis=1) - np.nanmin(whole, axis=1)).max(axis=1))
        if spread < _SPREAD:
            raise AugmentError(
                f"{path}: the joints of a person lie within {spread:.1%} of the image, as if they were of much smaller "
                "images, or shares of width and height. They must be in pixels of the image file."
            )


def far_outside(joints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which of joints (18, 2) lie farther outside an image of ``size`` (width, height) than it is large: no joint."""
    relative = joints[:, :2] / np.array(size)
    return ((relative < -1) | (relative > 2)).any(axis=1)


def _share_outside(relative: np.ndarray) -> float:
    present = ~np.isnan(relative).any(axis=2)
    outside = ((relative < -_MARGIN) | (relative > 1 + _MARGIN)).any(axis=2)
    return float(outside[present].mean())


def _cause(joints: np.ndarray, sizes: np.ndarray) -> str:
    if _share_outside(joints[..., ::-1] / sizes[:, None]) <= _MANY / 2:
        return ": x and y look exchanged"
    relative = joints / sizes[:, None]
    seen = relative[~np.isnan(relative).any(axis=2).all(axis=1)]
    factor = float(np.median(np.nanmax(seen, axis=(1, 2))))
    if 1 < factor < np.inf and _share_outside(relative / factor) <= _MANY / 2:
        return f": they fit images about {factor:.2g} times as large"
    return ""
