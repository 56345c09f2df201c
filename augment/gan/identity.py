"""Who a person is, as a loss sees it: a frozen re-ID network that generated images must look the same person to.

Not in the paper. Eq. 8 compares patches of a few pixels, and a generator that is good at those may still lose what
tells one person from another.
"""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from augment.base.errors import AugmentError
from augment.config import GanConfig
from augment.retrieval.networks import IMAGENET_DEVIATION, IMAGENET_MEAN, build_model
from augment.retrieval.weights import load_weights, weights_digest

KEY = "gan.identity_weights"


class IdentityNetwork(nn.Module):
    """A network that the re-ID stage trained (``reid/<arm>-s<seed>.safetensors``), frozen, in evaluation mode."""

    def __init__(self, weights: str | Path) -> None:
        """Raises :class:`AugmentError` where the file is none of the re-ID stage's or damaged."""
        super().__init__()
        model, self.size = _architecture(Path(weights).expanduser())
        self.network = build_model(model, 1, "softmax", False, torch.device("cpu"))
        load_weights(self.network, weights, KEY)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()
        self._maps: list[Tensor] = []
        for stage in self.network.children():
            if isinstance(stage, nn.Sequential):
                stage.register_forward_hook(self._keep)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Of images in [-1, 1]: the maps (B, C, h, w) after each stage of the network, then its features (B, D)."""
        images = images.float()
        if tuple(images.shape[-2:]) != self.size:
            images = functional.interpolate(images, self.size, mode="bilinear", antialias=True)
        self._maps = []
        features = self.network(((images + 1) / 2 - self.mean) / self.deviation)
        return [*self._maps, features]

    def _keep(self, _stage: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.ndim == 4:
            self._maps.append(output)

    def train(self, mode: bool = True) -> "IdentityNetwork":
        """Stays in evaluation mode whatever the training loop says."""
        return super().train(False)


def identity_digest(section: GanConfig) -> str | None:
    """Hash of the re-ID network's file; None where none is used. Raises :class:`UsageError` if it is unreadable."""
    return None if section.identity_weights is None else weights_digest(section.identity_weights, KEY)


def _architecture(path: Path) -> tuple[str, tuple[int, int]]:
    """Torchreid's name of the network in a file, and the height and width of the images it was trained on."""
    try:
        with safe_open(path, "pt") as file:
            settings = json.loads(file.metadata()["origin"])["reid"]
        return settings["model"], (settings["height"], settings["width"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        raise AugmentError(f"{KEY}={path}: not a network of the re-ID stage. Name a file reid/<arm>-s<seed>.safetensors"
                           " of a run, trained on none of the people that the generator is judged by.") from None
