"""Pose estimation of crops: batches of equal shape, no padding, and results independent of the batching."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from augment.base.devices import pick_device
from augment.pose.estimator import openpifpaf_adapter as adapter
from augment.pose.estimator.checkpoints import Checkpoint
from augment.pose.estimator.decoding import decode
from augment.pose.estimator.network_input import enlarge, input_size, normalise
from augment.pose.skeleton import from_coco


class Pose(NamedTuple):
    """joints: (18, 3) float32 as x, y in pixels of the crop and confidence, x and y NaN where missing."""

    joints: np.ndarray
    people: int


class Estimator:
    """openpifpaf's network with a decoder for crops."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        batch_size: int = 32,
        joint_confidence: float = 0.3,
        person_confidence: float = 0.45,
    ):
        """device: "auto" is a GPU where there is one. A joint with a confidence below ``joint_confidence`` is missing,
        and so is the whole person where the mean over all joints is below ``person_confidence``.
        """
        self.device = pick_device(device)
        self.batch_size = batch_size
        self.joint_confidence, self.person_confidence = joint_confidence, person_confidence
        network = adapter.load_network(checkpoint.path, checkpoint.sha256)
        layout = adapter.field_layout(network)
        self._limbs, self._stride = layout.limbs, layout.stride
        self._network = adapter.for_inference(network).to(self.device, memory_format=torch.channels_last)

    def estimate(self, crops: Sequence[np.ndarray]) -> list[Pose]:
        """uint8 RGB crops (H, W, 3), of any sizes -> a pose for each, in order.

        Crops of equal input size make a batch; the last is padded, so that the same kernels are used for every crop.
        """
        by_size = defaultdict(list)
        for index, crop in enumerate(crops):
            by_size[input_size(*crop.shape[:2])].append(index)
        poses: list[Pose | None] = [None] * len(crops)
        for size, indices in by_size.items():
            for start in range(0, len(indices), self.batch_size):
                chosen = indices[start : start + self.batch_size]
                for index, pose in zip(chosen, self._batch([crops[index] for index in chosen], size), strict=True):
                    poses[index] = pose
        return poses

    @torch.inference_mode()
    def _batch(self, crops: list[np.ndarray], size: tuple[int, int]) -> list[Pose]:
        images = torch.zeros(self.batch_size, 3, *size, device=self.device)
        if len({crop.shape for crop in crops}) == 1:
            images[: len(crops)] = self._enlarged(np.stack(crops), size)
        else:
            for place, crop in enumerate(crops):
                images[place] = self._enlarged(crop[None], size)[0]
        intensity, association = self._network(images.contiguous(memory_format=torch.channels_last))[:2]
        people = decode(intensity, association, self._limbs)
        joints = from_coco(people.joints[: len(crops)].cpu().numpy())
        shapes = np.array([crop.shape[1::-1] for crop in crops])  # width, height
        joints[..., :2] *= (self._stride * (shapes - 1) / (np.array(size[::-1]) - 1))[:, None]
        person = people.joints[: len(crops), :, 2].mean(dim=1).cpu().numpy() >= self.person_confidence
        sure = (joints[..., 2] >= self.joint_confidence) & person[:, None]
        joints[~sure, :2] = np.nan
        return [
            Pose(pose, max(count, 1) if there else 0)
            for pose, count, there in zip(joints, people.count.tolist(), sure.any(axis=1), strict=False)
        ]

    def _enlarged(self, crops: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
        images = torch.tensor(crops, device=self.device).permute(0, 3, 1, 2).float().div_(255)
        return normalise(enlarge(images, size))


@lru_cache(maxsize=2)
def cached_estimator(
    checkpoint: Checkpoint, device: str, batch_size: int, joint_confidence: float, person_confidence: float
) -> Estimator:
    """An estimator that stays loaded for all shards of a process."""
    return Estimator(
        checkpoint, device=device, batch_size=batch_size, joint_confidence=joint_confidence,
        person_confidence=person_confidence,
    )  # fmt: skip
