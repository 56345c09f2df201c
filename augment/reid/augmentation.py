"""torchreid's random transforms on whole batches of tensors, and the blurred, shifted copies of the control arm.

Same transforms and constants as torchreid's, which works image by image through PIL; all randomness comes from one
generator on the CPU, so a batch depends on its seed and not on the device.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from augment.retrieval.networks import imagenet_statistics, normalised

Images = Float[Tensor, "B 3 H W"]  # in 0..1

_ENLARGED = 1.125  # before a random crop
_ERASED_AREA, _ERASED_ASPECT = (0.02, 0.4), 0.3  # Zhong et al., Random Erasing
_SHIFT, _BLUR = 1 / 16, (0.5, 2.0)  # of the copies: share of the height and width; sigma in pixels at a height of 128


def augmented_batch(images: Images, transforms: Sequence[str], random: torch.Generator) -> Images:
    """The images after the transforms named, normalised."""
    if "random_flip" in transforms:
        flip = _happens(len(images), random).to(images.device)
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
    if "random_crop" in transforms:
        images = _cropped(images, random)
    if "color_jitter" in transforms:
        images = _jittered(images, random)
    if "random_erase" in transforms:
        images = _erased(images, random)
    return normalised(images)


def blurred_and_shifted(images: Images, random: torch.Generator) -> Images:
    """Copies of images, each blurred by a random sigma and shifted by a random offset; the edge is repeated."""
    count, height, width = len(images), images.shape[2], images.shape[3]
    sigma = (_uniform(count, *_BLUR, random) * height / 128).to(images.device)
    radius = math.ceil(2 * _BLUR[1] * height / 128)
    offset = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-(offset**2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
    flat = F.pad(images, [radius] * 4, mode="replicate").reshape(1, count * 3, height + 2 * radius, width + 2 * radius)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=count * 3)
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=count * 3)
    down, right = (_uniform(count, -_SHIFT * size, _SHIFT * size, random).round().long() for size in (height, width))
    return _window(flat.view_as(images), down, right, height, width)


def _happens(count: int, random: torch.Generator) -> Tensor:
    return torch.rand(count, generator=random) < 0.5


def _uniform(count: int, low: float, high: float, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=random)


def _window(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """The window of each image with its corner at (top, left); beyond the border the border is repeated."""
    rows = (top[:, None] + torch.arange(height)).clamp(0, images.shape[2] - 1).to(images.device)
    columns = (left[:, None] + torch.arange(width)).clamp(0, images.shape[3] - 1).to(images.device)
    each = torch.arange(len(images), device=images.device)
    return images.permute(0, 2, 3, 1)[each[:, None, None], rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def _cropped(images: Tensor, random: torch.Generator) -> Tensor:
    """A random crop of the enlarged image, with probability 1/2."""
    crop = _happens(len(images), random)
    height, width = images.shape[2:]
    size = round(height * _ENLARGED), round(width * _ENLARGED)
    top, left = ((torch.rand(len(images), generator=random) * (large - small + 1)).long()
                 for large, small in zip(size, (height, width), strict=True))  # fmt: skip
    enlarged = F.interpolate(images, size, mode="bilinear", align_corners=False)
    crop = crop.to(images.device)[:, None, None, None]
    return torch.where(crop, _window(enlarged, top, left, height, width), images)


def _jittered(images: Tensor, random: torch.Generator) -> Tensor:
    """Brightness by up to 20 %, then contrast by up to 15 %."""
    brightness, contrast = (_uniform(len(images), 1 - by, 1 + by, random).to(images.device)[:, None, None, None]
                            for by in (0.2, 0.15))  # fmt: skip
    images = (images * brightness).clamp(0, 1)
    grey = (images * images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    return (mean + (images - mean) * contrast).clamp(0, 1)


def _erased(images: Tensor, random: torch.Generator) -> Tensor:
    """A rectangle of random area and aspect ratio is filled, with probability 1/2."""
    count, height, width = len(images), images.shape[2], images.shape[3]
    erase = _happens(count, random)
    area = _uniform(count, *_ERASED_AREA, random) * height * width
    aspect = _uniform(count, _ERASED_ASPECT, 1 / _ERASED_ASPECT, random)
    tall = (area * aspect).sqrt().round().clamp(1, height - 1)
    wide = (area / aspect).sqrt().round().clamp(1, width - 1)
    top = (torch.rand(count, generator=random) * (height - tall + 1)).floor()[:, None]
    left = (torch.rand(count, generator=random) * (width - wide + 1)).floor()[:, None]
    y, x = torch.arange(height), torch.arange(width)
    inside = ((y >= top) & (y < top + tall[:, None]))[:, :, None] & ((x >= left) & (x < left + wide[:, None]))[:, None]
    inside = (inside & erase[:, None, None]).to(images.device)[:, None]
    # torchreid fills the rectangle after normalisation, with the mean as colour
    mean, deviation = imagenet_statistics(images)
    return torch.where(inside, mean * deviation + mean, images)
