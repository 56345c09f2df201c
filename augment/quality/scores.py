"""Scores of images by comparison with their targets."""

import numpy as np
import torch

from augment.quality.masks import evaluation_mask
from augment.quality.pictures import PairPictures
from augment.quality.ssim import ssim_scores

PER_PAIR = ("ssim_released", "ssim_255", "ssim_skimage", "mask_ssim_released", "mask_ssim_255", "psnr", "l1_released")

# of an image that is its target
PERFECT = dict.fromkeys(PER_PAIR, 1.0) | {"psnr": np.inf, "l1_released": 0.0}

_MASKED = ("ssim_released", "ssim_255")


def body_masks(joints: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Evaluation masks of target poses (B, 18, 2) -> uint8 (B, 1, H, W), 1 on the body."""
    return torch.from_numpy(np.stack([evaluation_mask(pose, size) for pose in joints.numpy()])).byte()[:, None]


def pair_scores(images: torch.Tensor, targets: torch.Tensor, masks: torch.Tensor) -> dict[str, np.ndarray]:
    """Each of :data:`PER_PAIR` for uint8 images (B, 3, H, W) and their targets; masks from :func:`body_masks`.

    ``l1_released`` is the mean absolute difference of images in [-1, 1], as in the released code; ``psnr`` is
    10 log10(255^2 / mean squared error) in decibels, infinite for equal images.
    """
    scores = ssim_scores(images, targets)
    scores |= {f"mask_{name}": value for name, value in ssim_scores(images * masks, targets * masks, _MASKED).items()}
    difference = (images.short() - targets.short()).abs().double()
    scores["psnr"] = 10 * torch.log10(255**2 / (difference**2).flatten(1).mean(dim=1))
    scores["l1_released"] = difference.flatten(1).mean(dim=1) * (2 / 255)
    return {name: scores[name].cpu().numpy() for name in PER_PAIR}


def score_images(images: torch.Tensor, pictures: PairPictures, device: torch.device) -> dict[str, np.ndarray]:
    """Each of :data:`PER_PAIR` for any number of uint8 images (N, 3, H, W) generated for the pairs."""
    found = []
    for batch in torch.arange(len(pictures)).split(100):  # scores are made of float64 maps, some MB an image
        some = pictures.select(batch)
        masks = body_masks(some.target_joints, tuple(some.target.shape[-2:])).to(device)
        found.append(pair_scores(images[batch].to(device), some.target.to(device), masks))
    return {metric: np.concatenate([chunk[metric] for chunk in found]) for metric in PER_PAIR}
