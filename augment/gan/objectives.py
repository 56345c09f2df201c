"""What is minimised in each of the four systems, with the weights of each preset (Sec. 4, 6.3, App. A)."""

from pathlib import Path

import torch
from torch import Tensor, nn

from augment.base.errors import AugmentError
from augment.base.files import sha256_file
from augment.config import GanConfig
from augment.gan.features import TORCHVISION_URL, build_features
from augment.gan.losses import discriminator_loss, feature_loss, generator_loss, nearest_neighbour_loss

# Weight of the reconstruction beside the adversarial loss. Released code: of a mean over pixels.
_RELEASED = {"baseline": 100.0, "dsc": 100.0, "percloss": 0.5, "full": 0.01}
_PAPER = 0.01  # Eq. 10: of a sum over pixels; the paper gives no other for the other systems


class Objectives(nn.Module):
    """The losses of a configuration. Holds the frozen feature network where the system needs one."""

    def __init__(self, section: GanConfig, image_size: tuple[int, int]):
        super().__init__()
        self.system = section.system
        self.paper = section.fidelity == "paper"
        self.neighbourhood = section.neighbourhood or (3 if max(image_size) <= 128 else 5)
        self.features = build_features(section)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Eq. 5 for D, from logits."""
        return discriminator_loss(real, fake)

    def generator(self, logits: Tensor, generated: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Adversarial loss of G and its weighted reconstruction loss; G minimises the sum (Eq. 10)."""
        adversarial = generator_loss(logits, "minimax" if self.paper else "non-saturating")
        return adversarial, self.reconstruction(generated, target)

    def reconstruction(self, generated: Tensor, target: Tensor) -> Tensor:
        """Weighted difference of images (B, 3, H, W) in [-1, 1] from their targets."""
        generated = generated.float()
        if self.features is not None:
            with torch.no_grad():
                target = self.features(target)
            generated = self.features(generated)
        if self.system == "full":
            reduction = "sum" if self.paper else "mean"
            difference = nearest_neighbour_loss(generated, target, self.neighbourhood, reduction)
        else:
            difference = feature_loss(generated, target)
            if self.paper:
                difference = difference * generated[0].numel()
        return difference * (_PAPER if self.paper else _RELEASED[self.system])


def features_digest(section: GanConfig) -> str | None:
    """What identifies the feature network by content; None where none is used.

    Raises :class:`AugmentError` where its file cannot be read.
    """
    if section.system in ("baseline", "dsc") or section.features == "patches":
        return None
    if section.vgg_weights is None:
        return TORCHVISION_URL
    try:
        return sha256_file(Path(section.vgg_weights))
    except OSError as error:
        raise AugmentError(
            f"gan.vgg_weights={section.vgg_weights}: cannot be read ({error.strerror}). Name a file with VGG-19's "
            "weights, or set gan.features=patches, which needs none."
        ) from None
