"""Pairs of an image and itself, moved a little: what the paper's training lacks to keep what can be seen.

Two images of a person differ in light, in what is turned to the camera and in the scene. G must guess all that, and
learns to draw what is likely where it could copy. In a pair of an image and itself nothing is to guess. Its target is
moved by a random affine map, so that the poses differ and the deformable skips have something to do.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from augment.gan.dataset import Batch

ANGLE = np.radians(8)
STRETCH = 0.15  # of each side, as a logarithm
SHEAR = 0.1
SHIFT = (5 / 32, 1 / 8)  # of half the width, of half the height


def random_maps(count: int, image_size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """(count, 2, 2, 3) float32: each a map from target to source, in coordinates from -1 to 1 as
    :func:`torch.nn.functional.affine_grid` takes it, and its inverse, in pixels of images of ``image_size`` (H, W)."""
    def up_to(limit: float) -> np.ndarray:
        return random.uniform(-limit, limit, count)

    angle, wider, higher, shear = up_to(ANGLE), np.exp(up_to(STRETCH)), np.exp(up_to(STRETCH)), up_to(SHEAR)
    to_source = np.zeros((count, 3, 3))
    height, width = image_size
    aspect = (height - 1) / (width - 1)  # an angle in pixels is none between -1 and 1
    to_source[:, 0] = np.stack([wider * np.cos(angle), (shear - higher * np.sin(angle)) * aspect, up_to(SHIFT[0])], 1)
    to_source[:, 1] = np.stack([wider * np.sin(angle) / aspect, higher * np.cos(angle), up_to(SHIFT[1])], 1)
    to_source[:, 2, 2] = 1
    half = np.array([(width - 1) / 2, (height - 1) / 2])
    pixels = np.block([[np.diag(half), half[:, None]], [np.zeros((1, 2)), np.ones((1, 1))]])
    to_target = pixels @ np.linalg.inv(to_source) @ np.linalg.inv(pixels)
    return np.stack([to_source, to_target], 1)[:, :, :2].astype(np.float32)


def move_targets(batch: Batch, maps: Tensor) -> Batch:
    """The batch with its targets moved by ``maps`` (B, 2, 2, 3) of :func:`random_maps`; where they are zero, as it is.

    Beyond its border an image is mirrored. Joints that leave the image are missing.
    """
    to_source = maps[:, 0]
    grid = functional.affine_grid(to_source, list(batch.target.shape), align_corners=True)
    moved = functional.grid_sample(batch.target, grid, padding_mode="reflection", align_corners=True)
    target = torch.where(_is_map(maps)[:, None, None, None], moved, batch.target)
    return Batch(
        batch.source, batch.source_joints, target.contiguous(memory_format=torch.channels_last),
        move_joints(batch.target_joints, maps, tuple(batch.target.shape[2:])),
    )  # fmt: skip


def move_joints(joints: Tensor, maps: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Joints (B, J, 2) in pixels of images of ``image_size`` (H, W), moved as :func:`move_targets` does."""
    to_target = maps[:, 1]
    moved = joints @ to_target[:, :, :2].transpose(1, 2) + to_target[:, None, :, 2]
    x, y = moved.unbind(2)
    inside = (x >= 0) & (x <= image_size[1] - 1) & (y >= 0) & (y <= image_size[0] - 1)
    moved = torch.where(inside[..., None], moved, torch.nan)
    return torch.where(_is_map(maps)[:, None, None], moved, joints)


def _is_map(maps: Tensor) -> Tensor:
    return maps.flatten(1).any(1)
