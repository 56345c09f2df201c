"""Image files as uint8 tensors, and a network's features of them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

from augment.base.images import read_image
from augment.base.progress import progress
from augment.reid.dataset import Item
from augment.retrieval.networks import embed

_READERS = min(8, os.cpu_count() or 1)
_BATCH = 100  # fixed, so that the last bits of a feature depend on nothing one can set


def extract_features(
    model: torch.nn.Module, items: Sequence[Item], size: tuple[int, int], device: torch.device, title: str = "features",
    precision: str = "fp32",
) -> Float32[np.ndarray, "N D"]:
    """The network's features of N images resized to ``size`` (height, width), in order."""
    model.eval()
    features = []
    with progress(title, total=len(items)) as advance, ThreadPoolExecutor(_READERS) as readers:
        for start in range(0, len(items), _BATCH):
            pixels = readers.map(partial(read_pixels, size=size), [item[0] for item in items[start : start + _BATCH]])
            features.append(embed(model, torch.stack(list(pixels)).to(device), size, precision))
            advance(len(features[-1]))
    return torch.cat(features).numpy()


def read_pixels(path: str, size: tuple[int, int] | None = None) -> UInt8[Tensor, "3 H W"]:
    """The pixels of an image file, resized as by PIL where ``size`` (H, W) is given."""
    return resized(torch.from_numpy(np.array(read_image(Path(path)))).permute(2, 0, 1), size)


def resized(pixels: UInt8[Tensor, "3 h w"], size: tuple[int, int] | None) -> UInt8[Tensor, "3 H W"]:
    """The pixels resized to ``size`` (H, W); unchanged where that is None."""
    if size is None or tuple(pixels.shape[1:]) == size:
        return pixels
    return F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
