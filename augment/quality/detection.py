"""Detection Score (Sec. 6): how sure is a person detector that the generated image shows a person?

The paper's detector is SSD300 trained on Pascal VOC 07+12. torchvision has SSD300 trained on COCO: the same network
on other data, so the metric has another name than the paper's DS.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

import augment.base.torchvision_cpu  # noqa: F401
from augment.quality.weights import load_weights, weights_digest

METRIC = "detection_score_ssd300_coco"

_PERSON = 1  # COCO's class number
_KEY = "quality.detector_weights"


def person_score(detections: Mapping[str, torch.Tensor]) -> float:
    """The score of the best box of class person; 0 where there is none."""
    scores = detections["scores"][detections["labels"] == _PERSON]
    return float(scores.max()) if len(scores) else 0.0


def weights_identity(file: Path | None) -> str:
    """What identifies the network's weights: those of ``file``, or torchvision's."""
    from torchvision.models.detection import SSD300_VGG16_Weights

    return weights_digest(SSD300_VGG16_Weights.COCO_V1, file, _KEY)


class PersonDetector:
    """torchvision's SSD300: images -> the person score of each."""

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        """``weights``: a file; None: torchvision's download. Raises AugmentError where neither is to be had."""
        from torchvision.models.detection import SSD300_VGG16_Weights, ssd300_vgg16

        model = ssd300_vgg16(weights=None, weights_backbone=None)
        model.load_state_dict(load_weights(SSD300_VGG16_Weights.COCO_V1, weights, _KEY))
        self._model = model.eval().to(device)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> list[float]:
        """uint8 (B, 3, H, W) -> B scores in [0, 1]; torchvision resizes to 300 x 300 itself."""
        return [person_score(found) for found in self._model(list(images.float() / 255))]
