"""Preprocessing of crops for openpifpaf's network."""

import torch

from augment.base.images import IMAGENET_DEVIATION, IMAGENET_MEAN

LONG_EDGE = 161  # a 128x64 crop enlarged by 1.25: what the shipped checkpoint was trained at
_STEP = 16

# as openpifpaf normalises
_MEAN, _DEVIATION = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))


def input_size(height: int, width: int) -> tuple[int, int]:
    """Input size for a crop: its long edge becomes 161, the other a multiple of 16 plus 1; 128x64 -> 161x81.

    One more than a multiple of the network's stride, so that the corner cells are at the corner pixels.
    """
    scale = (LONG_EDGE - 1) / max(height - 1, width - 1, 1)
    return tuple(max(1, round((edge - 1) * scale / _STEP)) * _STEP + 1 for edge in (height, width))


def normalise(images: torch.Tensor) -> torch.Tensor:
    """RGB in [0, 1], (B, 3, H, W) -> the network's scale."""
    return (images - _MEAN.to(images.device)) / _DEVIATION.to(images.device)


def enlarge(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear resampling of (B, C, H, W) with aligned corners: pixel x becomes x (size - 1) / (width - 1).

    As ``interpolate``, but in separate multiplications and additions: torch's kernel gives other last bits with another
    number of threads, on which poses must not depend.
    """
    for axis, edge in ((2, size[0]), (3, size[1])):
        last = images.shape[axis] - 1
        position = torch.arange(edge, device=images.device) * (last / (edge - 1))
        low = position.floor().clamp(max=max(last - 1, 0)).long()
        shape = [-1 if axis == dimension else 1 for dimension in range(4)]
        share = (position - low).view(shape)
        high = (low + 1).clamp(max=last)
        images = images.index_select(axis, low) * (1 - share) + images.index_select(axis, high) * share
    return images
