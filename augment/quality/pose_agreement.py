"""PCK: agreement of the joints that a pose estimator finds in a generated image with the target pose.

The share of the target's joints that are found within a distance: .05 or .1 of the image's height, for PCKh half of the
distance from nose to neck in the target pose. A joint that is not found counts as wrong.
"""

from pathlib import Path

import numpy as np
import torch

from augment.base.files import sha256_file
from augment.pose.agreement import share_met
from augment.pose.estimator.checkpoints import Checkpoint
from augment.pose.skeleton import INDEX
from augment.quality.observations import Batch, Observations

_NOSE, _NECK = INDEX["nose"], INDEX["neck"]


class PoseAgreement:
    """The shipped estimator. Observes "pck_05", "pck_10" and "pckh_50" (B,), NaN where undefined."""

    def __init__(self, checkpoint: Path, device: torch.device) -> None:
        """``checkpoint``: that of the package."""
        from augment.pose.estimator.predictor import Estimator  # openpifpaf is imported for this metric alone

        self._estimator = Estimator(Checkpoint(checkpoint, sha256_file(checkpoint)), device=str(device))

    def __call__(self, batch: Batch) -> Observations:
        """See the class."""
        crops = list(batch.images.permute(0, 2, 3, 1).cpu().numpy())
        found = np.stack([pose.joints[:, :2] for pose in self._estimator.estimate(crops)])
        wanted = batch.joints.numpy()
        height = np.full(len(crops), float(batch.images.shape[2]))
        head = np.linalg.norm(wanted[:, _NOSE] - wanted[:, _NECK], axis=1)
        return {
            "pck_05": share_met(found, wanted, 0.05 * height),
            "pck_10": share_met(found, wanted, 0.1 * height),
            "pckh_50": share_met(found, wanted, 0.5 * head),
        }
