"""Training images in memory: decoded once, put into batches and augmented there, on the device of the training."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from augment.base.progress import progress
from augment.config import Transform
from augment.reid.augmentation import augmented_batch, blurred_and_shifted
from augment.reid.batches import seed_of
from augment.reid.dataset import SYNTHETIC, Item
from augment.reid.features import read_pixels, resized


class TrainImages:
    """The images of an arm as bytes (24 KB each at 128x64, 3.5 GB for Market-1501 with ten synthetic ones for each)."""

    def __init__(self, train: Sequence[Item], size: tuple[int, int], copies: bool, device: torch.device, title: str):
        """``size``: height and width that the network takes. ``copies``: the synthetic part is blurred and shifted."""
        self._size, self._copies, self._device = size, copies, device
        self._pids = torch.tensor([item[1] for item in train])
        self._synthetic = torch.tensor([item[3] == SYNTHETIC for item in train])
        self._pixels: list[Tensor] = []
        decoded: dict[str, Tensor] = {}
        with progress(title, total=len(train)) as advance:
            for path, *_ in train:
                if path not in decoded:
                    decoded[path] = read_pixels(path)
                self._pixels.append(decoded[path])
                advance()

    def batch(
        self, indices: Sequence[int], transforms: Sequence[Transform], *seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 3, H, W) after the random transforms that ``seed`` decides, labels (B,), which are synthetic (B,).

        One seed a batch: what becomes of an image depends on its place there and on nothing outside.
        """
        random = torch.Generator().manual_seed(seed_of(*seed))
        images = torch.stack([resized(self._pixels[index], self._size) for index in indices]).to(self._device)
        images = images.float().div_(255)
        which = torch.as_tensor(np.asarray(indices))
        synthetic = self._synthetic[which]
        if self._copies and synthetic.any():
            images[synthetic] = blurred_and_shifted(images[synthetic], random)
        images = augmented_batch(images, transforms, random)
        return images, self._pids[which].to(self._device), synthetic.to(self._device)
