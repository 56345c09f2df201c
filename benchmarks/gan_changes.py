"""Changes to the preset ``modern`` that were tried and did not win (docs/fidelity.md): a training with one of them.

    python benchmarks/gan_changes.py hinge configs/market1501-systems.yaml --set output=outputs/systems/hinge-0

Whatever follows the name of the change are arguments of ``augment gan train``. The outputs do not say what was changed:
give each its own folder, and compare them by ``augment gan compare``.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.parametrizations import spectral_norm

from augment.cli import main
from augment.gan import trainer
from augment.gan.features import VGGFeatures, known_preprocessing, load_vgg19
from augment.gan.networks import Discriminator, build_discriminator
from augment.gan.objectives import Objectives

SHIFT = (8, 4)  # rows, columns


class Hinge(Objectives):
    """The hinge loss (Miyato et al., ICLR 2018), with spectral normalisation in D."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()

    def generator(self, logits: Tensor, generated: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return -logits.mean(), self.reconstruction(generated, target)


class WithL1(Objectives):
    """L1 beside Eq. 8, of about the same size (PATN adds both 10 : 10, GFLA 5)."""

    def reconstruction(self, generated: Tensor, target: Tensor) -> Tensor:
        return super().reconstruction(generated, target) + 20 * (generated.float() - target).abs().mean()


class TwoLayers(Objectives):
    """The difference of conv2_1, PercLoss's layer, beside Eq. 8 on conv1_2."""

    def __init__(self, section, image_size):
        super().__init__(section, image_size)
        kind = known_preprocessing(section.vgg_weights, section.vgg_preprocessing)
        self.deeper = VGGFeatures("conv2_1", load_vgg19(section.vgg_weights), kind)

    def reconstruction(self, generated: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(generated.device.type, torch.bfloat16, enabled=self.bf16):
            with torch.no_grad():
                wanted = self.deeper(target)
            found = self.deeper(generated.float())
        return super().reconstruction(generated, target) + 0.25 * (found.float() - wanted.float()).abs().mean()


class Shifted(nn.Module):
    """D on images and heat maps that are shifted together, each sample by its own offset, as far as :data:`SHIFT`."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, maps: Tensor) -> Tensor:
        (height, width), (rows, columns) = maps.shape[2:], SHIFT
        padded = pad(maps, (columns, columns, rows, rows))
        down = torch.randint(2 * rows + 1, (len(maps),)).tolist()
        right = torch.randint(2 * columns + 1, (len(maps),)).tolist()
        shifted = [one[:, y : y + height, x : x + width] for one, y, x in zip(padded, down, right, strict=True)]
        return self.layers(torch.stack(shifted).contiguous(memory_format=torch.channels_last))


def normalised(*arguments) -> Discriminator:
    """D with spectral normalisation."""
    network = build_discriminator(*arguments)
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)
    return network


def shifted(*arguments) -> Discriminator:
    """D that sees what :class:`Shifted` makes of its input."""
    network = build_discriminator(*arguments)
    network.layers = Shifted(network.layers)
    return network


# name -> objectives, and what builds D
CHANGES: dict[str, tuple[type[Objectives], Callable[..., Discriminator]]] = {
    "hinge": (Hinge, normalised), "l1": (WithL1, build_discriminator), "layers": (TwoLayers, build_discriminator),
    "shifts": (Objectives, shifted),
}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("change", choices=CHANGES)
    options, arguments = parser.parse_known_args()
    trainer.Objectives, trainer.build_discriminator = CHANGES[options.change]
    main(["gan", "train", *arguments])
