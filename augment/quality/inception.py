"""Inception Score (Salimans et al. 2016): is each image one clear thing, and are all of them many things together?

The published figures come from the TensorFlow graph of 2015. This is torchvision's network, another training of a
slightly different architecture, so its figures carry another name and stand beside the published ones, not in their
place. The paper itself calls the score unsuitable where all images show one class (Sec. 6).
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

import augment.base.torchvision_cpu  # noqa: F401
from augment.quality.weights import load_weights, weights_digest

METRIC = "inception_score_torchvision"
SPLITS = 10  # the released code's; the score depends on how the images, in their order, fall into splits
_KEY = "quality.inception_weights"


def inception_score(probabilities: np.ndarray, splits: int = SPLITS) -> float:
    """exp(mean KL(p(y|x) || p(y))) of each of ``splits`` consecutive parts, averaged over the parts.

    ``probabilities``: (N, classes), rows sum to 1, N >= splits; raises ValueError for fewer rows.
    """
    rows = len(probabilities)
    if rows < splits:
        raise ValueError(f"{rows} images cannot be split into {splits} parts")
    scores = []
    for part in range(splits):
        p = np.asarray(probabilities[rows * part // splits : rows * (part + 1) // splits], np.float64)
        marginal = p.mean(axis=0, keepdims=True)
        # 0 log 0 = 0, and where the marginal is 0 so is every p
        logarithm = np.log(np.where(p > 0, p, 1.0)) - np.log(np.where(marginal > 0, marginal, 1.0))
        scores.append(np.exp((p * logarithm).sum(axis=1).mean()))
    return float(np.mean(scores))


def weights_identity(file: Path | None) -> str:
    """What identifies the network's weights: those of ``file``, or torchvision's."""
    from torchvision.models import Inception_V3_Weights

    return weights_digest(Inception_V3_Weights.IMAGENET1K_V1, file, _KEY)


class InceptionClassifier:
    """torchvision's Inception v3: images -> probabilities of the 1000 ImageNet classes."""

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        """``weights``: a file; None: torchvision's download. Raises AugmentError where neither is to be had."""
        from torchvision.models import Inception_V3_Weights, inception_v3

        model = inception_v3(weights=None, init_weights=False, transform_input=False)
        model.load_state_dict(load_weights(Inception_V3_Weights.IMAGENET1K_V1, weights, _KEY))
        self._model = model.eval().to(device)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (B, 3, H, W) -> (B, 1000)."""
        scaled = interpolate(images.float(), (299, 299), mode="bilinear", align_corners=False)
        return self._model(scaled / 127.5 - 1).softmax(dim=1)  # trained on [-1, 1]
