"""Observations of single images, from which the metrics are computed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Batch:
    """A batch of images generated for pairs."""

    images: torch.Tensor  # uint8 (B, 3, H, W), like targets and masks on the device that works
    targets: torch.Tensor
    masks: torch.Tensor  # uint8 (B, 1, H, W), 1 on the body in the target's pose
    joints: torch.Tensor  # (B, 18, 2) of the targets in pixels, NaN where missing; on the CPU


Observations = dict[str, np.ndarray]  # name -> a number (B,) or features (B, D) for each image
Observe = Callable[[Batch], Observations]
