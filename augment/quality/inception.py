"""The Inception network of 2015, of published FID, KID and Inception Scores, and the Inception Score.

torch-fidelity's port of the TensorFlow graph resizes as TensorFlow 1 does; torchvision's Inception is another network
with other values. The paper itself calls the Inception Score unsuitable where all images show the same class (Sec. 6).
"""

from pathlib import Path

import numpy as np
import torch

import augment.base.torchvision_cpu  # noqa: F401
from augment.base.errors import AugmentError
from augment.base.weights import read_weights
from augment.quality.observations import Batch, Observations

SPLITS = 10  # the released code's; the score depends on how the images, in their order, fall into splits


class Inception:
    """Observes "inception" (B, 2048), "probabilities" and "mask_probabilities" (B, 1008)."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        """Raises :class:`AugmentError` where the file has no such weights."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        read_weights(weights, "quality.inception_weights")  # torch-fidelity would execute code in a pickle
        try:
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise AugmentError(f"quality.inception_weights={weights}: is of another network ({reason})") from None
        self._network = network.to(device)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Observations:
        """See the class."""
        features, logits = self._network(batch.images)
        _, masked = self._network(batch.images * batch.masks)
        return {
            "inception": features.cpu().numpy(),
            "probabilities": logits.softmax(dim=1).cpu().numpy(),
            "mask_probabilities": masked.softmax(dim=1).cpu().numpy(),
        }


def inception_score(probabilities: np.ndarray, splits: int = SPLITS) -> np.ndarray:
    """exp(mean KL(p(y|x) || p(y))) of each of ``splits`` consecutive parts (Salimans et al. 2016): (splits,).

    ``probabilities``: (N, classes), rows sum to 1, N >= splits; raises ValueError for fewer. The score is the mean.
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
    return np.array(scores)
