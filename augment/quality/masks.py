"""Masks of the person for the masked scores, rendered from the target pose as in the released code and by Ma et al.

They are unrelated to the masks of the deformable skips (``augment.gan.regions``), as Sec. 6 states; it also warns that
they favour Ma et al., who trained with them.
"""

import cv2
import numpy as np
from skimage.draw import disk, polygon

# 23 pairs of joints: the skeleton's bones, shoulders to ears, shoulder to hip, hip to hip and ear to ear, so that
# torso and head come out filled.
EVALUATION_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17), (1, 16), (1, 17), (8, 11), (11, 5), (8, 2), (16, 17),
)  # fmt: skip


def evaluation_mask(joints: np.ndarray, size: tuple[int, int], half_width: float = 4.0) -> np.ndarray:
    """The body of a pose as bool (H, W).

    ``joints`` (18, 2) are x, y in pixels of a picture of ``size`` (H, W), NaN where missing. Each limb with both
    joints is a rectangle from joint to joint, ``half_width`` to either side, borders included; each joint an open
    disc of that radius; then a closing with a 5 x 5 square. The released code uses 4 pixels at every image size.
    """
    joints = np.asarray(joints, np.float64)
    present = np.isfinite(joints).all(axis=1)
    mask = np.zeros(size, np.uint8)
    for start, end in EVALUATION_LIMBS:
        along = joints[end] - joints[start]
        length = np.hypot(*along)
        if not (present[start] and present[end] and length > 0):  # no length: the disc covers it
            continue
        across = half_width / length * np.array([-along[1], along[0]])
        corners = np.stack([joints[start] + across, joints[start] - across, joints[end] - across, joints[end] + across])
        mask[polygon(corners[:, 1], corners[:, 0], shape=size)] = 1
    for x, y in joints[present]:
        mask[disk((y, x), half_width, shape=size)] = 1
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(bool)
