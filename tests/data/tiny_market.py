"""A data set of nine images in Market-1501's layout."""

import numpy as np

from augment.base.images import encode_jpeg

NAMES = {
    "train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000476_01.jpg", "0007_c3s2_000001_01.jpg"],
    "query": ["0003_c1s1_000001_00.jpg", "0005_c2s1_000001_00.jpg"],
    "gallery": [
        "0003_c2s1_000001_01.jpg", "0005_c1s1_000001_01.jpg", "0000_c1s1_000002_01.jpg", "-1_c1s1_000401_03.jpg",
    ],
}  # fmt: skip


def jpeg(value: int, height: int = 16, width: int = 8) -> bytes:
    return encode_jpeg(np.full((height, width, 3), value, np.uint8))
