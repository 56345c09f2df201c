"""A trained re-ID network from a file, to compare the identities of images."""

from pathlib import Path

import numpy as np
import torch

from augment.retrieval.networks import build_model, embed
from augment.retrieval.weights import load_weights

_BATCH = 100


class Embedder:
    """OSNet x0.25 (Zhou et al., ICCV 2019), or another network of torchreid, with weights from a file."""

    def __init__(
        self, weights: Path, device: torch.device, key: str, model: str = "osnet_x0_25",
        size: tuple[int, int] = (256, 128),
    ) -> None:  # fmt: skip
        """``key``: the configuration's key of the file; ``size``: the network's input height and width.

        Raises :class:`AugmentError` where the file is of another network.
        """
        network = build_model(model, 1, "softmax", False, torch.device("cpu"))
        load_weights(network, weights, key)
        self._network = network.eval().to(device)
        self._device, self._size = device, size

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """uint8 (B, 3, h, w) -> features of unit length, float32 (B, D)."""
        features = [embed(self._network, some.to(self._device), self._size) for some in images.split(_BATCH)]
        return torch.nn.functional.normalize(torch.cat(features)).numpy()
