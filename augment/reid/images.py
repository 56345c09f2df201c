"""Training images in memory: decoded once, then batched and augmented on the training device."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from augment.base.progress import progress
from augment.config import Transform
from augment.reid.augmentation import augmented_batch, blurred_and_shifted
from augment.reid.batches import seed_of
from augment.reid.dataset import SYNTHETIC, Item
from augment.reid.features import read_pixels, resized


class TrainImages:
    """The images of an arm as uint8 (24 KB each at 128x64, 3.5 GB for Market-1501 with ten synthetic images each)."""

    def __init__(self, train: Sequence[Item], size: tuple[int, int], copies: bool, device: torch.device, title: str):
        """``size``: the network's input height and width. ``copies``: the synthetic part is blurred and shifted."""
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
    ) -> tuple[Float[Tensor, "B 3 H W"], Int[Tensor, " B"], Bool[Tensor, " B"]]:
        """Images after random transforms, a function of ``seed``; labels; which are synthetic.

        One seed per batch: the transform of an image depends on its place in the batch and on nothing else.
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
