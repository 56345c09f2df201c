"""All scores of a batch of images that stand for their targets."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from augment.quality import detection, inception
from augment.quality.masks import evaluation_mask
from augment.quality.pictures import PairPictures
from augment.quality.ssim import ssim_scores

PER_PAIR = ("ssim_released", "ssim_255", "mask_ssim_released", "mask_ssim_255", "l1_released")

_PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class Judges:
    """The networks that judge single images; None where that score is not wanted."""

    classifier: inception.InceptionClassifier | None = None
    detector: detection.PersonDetector | None = None


def body_masks(joints: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Evaluation masks of target poses (B, 18, 2) -> uint8 (B, 1, H, W), 1 on the body."""
    return torch.from_numpy(np.stack([evaluation_mask(one, size) for one in joints.numpy()])).byte()[:, None]


def pair_scores(images: torch.Tensor, targets: torch.Tensor, masks: torch.Tensor) -> dict[str, np.ndarray]:
    """Each of :data:`PER_PAIR` for uint8 images (B, 3, H, W) beside their targets; masks from :func:`body_masks`.

    ``l1_released`` is the mean absolute difference of images in [-1, 1], as in the released code.
    """
    scores = ssim_scores(images, targets)
    scores |= {f"mask_{name}": value for name, value in ssim_scores(images * masks, targets * masks).items()}
    difference = (images.short() - targets.short()).abs().double()
    scores["l1_released"] = difference.flatten(1).mean(dim=1) * (2 / 255)
    return {name: scores[name].cpu().numpy() for name in PER_PAIR}


def score_images(images: torch.Tensor, pictures: PairPictures, device: torch.device) -> dict[str, np.ndarray]:
    """Each of :data:`PER_PAIR` for any number of uint8 images (B, 3, H, W) that stand for the pairs' targets."""
    found = []
    for batch in torch.arange(len(pictures)).split(100):  # scores are made of float64 maps, some MB an image
        some = pictures.select(batch)
        masks = body_masks(some.target_joints, tuple(some.target.shape[-2:])).to(device)
        found.append(pair_scores(images[batch].to(device), some.target.to(device), masks))
    return {metric: np.concatenate([one[metric] for one in found]) for metric in PER_PAIR}


def judge(judges: Judges, images: torch.Tensor, masks: torch.Tensor) -> dict[str, np.ndarray]:
    """What the networks say of each image, to be summed up by :func:`summary` when all have been seen."""
    found: dict[str, np.ndarray] = {}
    if judges.classifier is not None:
        found[_PROBABILITIES] = judges.classifier(images).cpu().numpy()
        found[f"mask_{_PROBABILITIES}"] = judges.classifier(images * masks).cpu().numpy()
    if judges.detector is not None:
        found[detection.METRIC] = np.array(judges.detector(images))
    return found


def summary(found: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Metric -> value over all images: means, and Inception Scores of the class probabilities."""
    values = {}
    for name, scores in found.items():
        if not name.endswith(_PROBABILITIES):
            values[name] = float(scores.mean())
        elif len(scores) >= inception.SPLITS:
            values[name.replace(_PROBABILITIES, inception.METRIC)] = inception.inception_score(scores)
    return values
