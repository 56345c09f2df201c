"""Detection Score (Sec. 6): the confidence of a person detector in the generated image.

The paper's detector is SSD300 trained on Pascal VOC 07+12; torchvision has SSD300 trained on COCO. With other training
data the metric has another name than the paper's DS.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

import augment.base.torchvision_cpu  # noqa: F401
from augment.base.weights import read_weights
from augment.quality.observations import Batch, Observations
from augment.quality.weights import fill

_KEY = "quality.detector_weights"
_PERSON = 1  # COCO's class number


def person_score(detections: Mapping[str, torch.Tensor]) -> float:
    """The score of the best box of class person; 0 where there is none."""
    scores = detections["scores"][detections["labels"] == _PERSON]
    return float(scores.max()) if len(scores) else 0.0


class PersonDetector:
    """torchvision's SSD300. Observes "detection_score" (B,), in [0, 1]."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        """Raises :class:`AugmentError` where the file has no such weights."""
        from torchvision.models.detection import ssd300_vgg16

        state = read_weights(weights, _KEY)
        self._model = fill(ssd300_vgg16(weights=None, weights_backbone=None), state, weights, _KEY).to(device)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Observations:
        """See the class; torchvision resizes to 300 x 300 itself."""
        found = self._model(list(batch.images.float() / 255))
        return {"detection_score": np.array([person_score(detections) for detections in found])}
