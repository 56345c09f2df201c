"""Images in the page, as data URIs."""

import base64

import numpy as np
from PIL import Image

from augment.base.drawing import draw_pose, image_grid
from augment.base.errors import AugmentError
from augment.base.images import encode_jpeg, read_image
from augment.run import Run

HEIGHT = 128  # of the largest picture; those of Market-1501 are not scaled
_PAPER = (238, 238, 238)


def data_uri(image: np.ndarray, quality: int = 82) -> str:
    """The value of a ``src`` attribute for an image, uint8 RGB (H, W, 3)."""
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image, quality)).decode()


def shrink(image: np.ndarray, height: int = HEIGHT) -> np.ndarray:
    """The image, at most ``height`` pixels high."""
    if image.shape[0] <= height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def picture(run: Run, stage: str, id: str, pose: bool = False) -> np.ndarray:
    """An image of a table, with its skeleton if ``pose`` is set; a grey image with a cross if it is missing."""
    file = run.picture_file(stage, id)
    try:
        image = read_image(file) if file is not None else None
    except AugmentError:
        image = None
    if image is None:
        return _lost()
    joints = run.joints(id) if pose else None
    return shrink(image if joints is None else draw_pose(joints, image.shape[:2], image))


def grid(rows: list[list[np.ndarray | None]]) -> np.ndarray:
    """Images in a grid on light grey, for light and dark pages."""
    return image_grid(rows, gap=3, background=_PAPER)


def _lost() -> np.ndarray:
    image = np.full((HEIGHT, HEIGHT // 2, 3), 190, np.uint8)
    y, x = np.mgrid[:HEIGHT, : HEIGHT // 2]
    image[(abs(y - 2 * x) < 3) | (abs(y + 2 * x - HEIGHT) < 3)] = 120
    return image
