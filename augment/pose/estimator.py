"""Crops -> joints: batches of equal shape, no padding, the same result however the crops are grouped."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from augment.pose import openpifpaf_adapter as adapter
from augment.pose.checkpoints import Checkpoint
from augment.pose.decoding import decode
from augment.pose.network_input import input_size, normalise
from augment.pose.skeleton import from_coco

_LEAST_JOINTS = 3  # fewer sure joints are no person


class Pose(NamedTuple):
    """joints: (18, 3) float32 as x, y in pixels of the crop and confidence, x and y NaN where missing."""

    joints: np.ndarray
    people: int


class Estimator:
    """openpifpaf's network with a decoder for crops."""

    def __init__(
        self, checkpoint: Checkpoint, *, device: str = "auto", batch_size: int = 64, joint_confidence: float = 0.1
    ):
        """device: "auto" takes a GPU where there is one. joint_confidence: joints below it are missing."""
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self.batch_size = batch_size
        self.joint_confidence = joint_confidence
        network = adapter.load_network(checkpoint.path, checkpoint.sha256)
        layout = adapter.field_layout(network)
        self._limbs, self._stride = layout.limbs, layout.stride
        self._network = adapter.for_inference(network).to(self.device, memory_format=torch.channels_last)

    def estimate(self, crops: Sequence[np.ndarray]) -> list[Pose]:
        """uint8 RGB crops (H, W, 3), of any sizes -> one pose each, in order.

        The last batch of a size is filled up, so that every crop meets the same kernels.
        """
        by_size = defaultdict(list)
        for index, crop in enumerate(crops):
            by_size[crop.shape].append(index)
        poses: list[Pose | None] = [None] * len(crops)
        for indices in by_size.values():
            for start in range(0, len(indices), self.batch_size):
                chosen = indices[start : start + self.batch_size]
                filled = chosen + [chosen[-1]] * (self.batch_size - len(chosen))
                batch = torch.from_numpy(np.stack([crops[index] for index in filled]))
                for index, pose in zip(chosen, self._batch(batch), strict=False):
                    poses[index] = pose
        return poses

    @torch.inference_mode()
    def _batch(self, crops: torch.Tensor) -> list[Pose]:
        height, width = crops.shape[1:3]
        size = input_size(height, width)
        images = crops.to(self.device).permute(0, 3, 1, 2).float().div_(255)
        # Corners meet corners: pixel x of the crop is x (size - 1) / (width - 1) of the input, and back.
        images = normalise(functional.interpolate(images, size, mode="bilinear", align_corners=True))
        intensity, association = self._network(images.contiguous(memory_format=torch.channels_last))[:2]
        people = decode(intensity, association, self._limbs)
        joints = from_coco(people.joints.cpu().numpy())
        joints[..., 0] *= self._stride * (width - 1) / (size[1] - 1)
        joints[..., 1] *= self._stride * (height - 1) / (size[0] - 1)
        sure = joints[..., 2] >= self.joint_confidence
        sure[sure.sum(axis=1) < _LEAST_JOINTS] = False
        joints[~sure, :2] = np.nan
        return [
            Pose(one, max(int(count), 1) if there else 0)
            for one, count, there in zip(joints, people.count.tolist(), sure.any(axis=1), strict=True)
        ]


@lru_cache(maxsize=2)
def cached_estimator(checkpoint: Checkpoint, device: str, batch_size: int, joint_confidence: float) -> Estimator:
    """An estimator that stays loaded from one shard to the next of a process."""
    return Estimator(checkpoint, device=device, batch_size=batch_size, joint_confidence=joint_confidence)
