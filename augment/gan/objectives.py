"""The objectives of the four systems, with the weights of each preset (Sec. 4, 6.3, App. A)."""

import torch
from torch import Tensor, nn

from augment.config import GanConfig
from augment.gan.features import build_features
from augment.gan.fidelity import preset
from augment.gan.identity import IdentityNetwork
from augment.gan.losses import (
    discriminator_loss,
    feature_loss,
    generator_loss,
    identity_loss,
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
        self.identity_weight = section.identity_weight
        self.identity = None if section.identity_weights is None else IdentityNetwork(section.identity_weights)

    @property
    def names(self) -> tuple[str, ...]:
        """What the values of :meth:`generator` are called in logs."""
        names = ("generator_adversarial", "generator_reconstruction")
        return names if self.identity is None else (*names, "generator_identity")

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Eq. 5 for D, from logits."""
        return discriminator_loss(real, fake, self.fidelity.logarithm_offset)

    def generator(self, logits: Tensor, generated: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """What G minimises the sum of (Eq. 10): its adversarial and its weighted reconstruction loss.

        With ``gan.identity_weights`` the weighted identity loss is the third.
        """
        adversarial = generator_loss(logits, self.fidelity.adversarial, self.fidelity.logarithm_offset)
        losses = adversarial, self.reconstruction(generated, target)
        if self.identity is None:
            return losses
        with torch.autocast(generated.device.type, enabled=False):
            with torch.no_grad():
                real = self.identity(target)
            return *losses, self.identity_weight * identity_loss(self.identity(generated), real)

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
