"""The objectives of the four systems, with the weights of each preset (Sec. 4, 6.3, App. A)."""

import torch
from torch import Tensor, nn

from augment.config import GanConfig
from augment.gan.features import build_features
from augment.gan.fidelity import preset
from augment.gan.losses import (
    discriminator_loss,
    feature_loss,
    generator_loss,
    nearest_neighbour_loss,
)


class Objectives(nn.Module):
    """The losses of a configuration. Holds the frozen feature network where the system needs one."""

    def __init__(self, section: GanConfig, image_size: tuple[int, int]):
        super().__init__()
        self.system = section.system
        self.fidelity = preset(section.fidelity)
        self.bf16 = section.precision == "bf16"
        self.neighbourhood = section.neighbourhood or (3 if max(image_size) <= 128 else 5)
        self.features = build_features(section)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Eq. 5 for D, from logits."""
        return discriminator_loss(real, fake, self.fidelity.logarithm_offset)

    def generator(self, logits: Tensor, generated: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """What G minimises the sum of (Eq. 10): its adversarial and its weighted reconstruction loss."""
        adversarial = generator_loss(logits, self.fidelity.adversarial, self.fidelity.logarithm_offset)
        return adversarial, self.reconstruction(generated, target)

    def reconstruction(self, generated: Tensor, target: Tensor) -> Tensor:
        """Weighted difference of images (B, 3, H, W) in [-1, 1] from their targets."""
        generated = generated.float()
        if self.features is not None:
            with torch.autocast(generated.device.type, torch.bfloat16, enabled=self.bf16):
                with torch.no_grad():
                    target = self.features(target)
                generated = self.features(generated)
            target, generated = target.float(), generated.float()
        if self.system == "full":
            difference = nearest_neighbour_loss(generated, target, self.neighbourhood, self.fidelity.reduction)
        else:
            difference = feature_loss(generated, target)
            if self.fidelity.reduction == "sum":
                difference = difference * generated[0].numel()
        return difference * self.fidelity.reconstruction_weights[self.system]
