"""Changes to the preset ``modern`` that were tried (docs/fidelity.md): a training with one of them, or with ``none``.

    python benchmarks/gan_changes.py hinge configs/market1501-systems.yaml --set output=outputs/systems/hinge-0

Whatever follows the name of the change are arguments of ``augment gan train``. ``modern`` is without the gradient
penalty here, as it was when they were tried; ``r1``, the change that won, is that penalty. The outputs do not say what
was changed: give each its own folder, and compare them by ``augment gan compare``.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, pad
from torch.nn.utils.parametrizations import spectral_norm

from augment.cli import main
from augment.gan import networks, trainer
from augment.gan.features import VGGFeatures, known_preprocessing, load_vgg19
from augment.gan.fidelity import MODERN, PRESETS
from augment.gan.kernels.gather import _inverse_affine, _level_masks
from augment.gan.networks import Discriminator, Generator, build_discriminator
from augment.gan.objectives import Objectives
from augment.gan.regions import deformation

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


@torch.no_grad()
def bilinear_plan(generator: Generator, source_joints: Tensor, target_joints: Tensor, batch: int | None = None) -> dict:
    """For each size the grid (B·R, h, w, 2) of :func:`torch.nn.functional.grid_sample`, and the masks (B, R, h, w)."""
    height, width = generator.image_size
    matrices, masks, valid = deformation(
        source_joints, target_joints, generator.image_size, generator.skeleton, fidelity=generator.fidelity
    )
    sampling, invertible = _inverse_affine(matrices)
    plan = {}
    for h, w in generator.deformed:
        y = (torch.arange(h) * (height / h)).expand(w, h).t()
        x = (torch.arange(w) * (width / w)).expand(h, w)
        places = sampling.float() @ torch.stack([x, y, torch.ones(h, w)]).flatten(1)  # (B, R, 2, h·w)
        places = places / torch.tensor([[width / w * (w - 1) / 2], [height / h * (h - 1) / 2]]) - 1
        level = _level_masks(masks, (h, w)).bool() & (valid & invertible)[..., None, None]
        plan[h, w] = places.flatten(0, 1).transpose(1, 2).reshape(-1, h, w, 2), level
    return plan


def apply_bilinear_plan(plan: dict, features: Tensor) -> Tensor:
    """Eq. 4 with bilinear sampling in place of the nearest pixel."""
    grid, masks = plan[features.shape[2], features.shape[3]]
    every = features.float()[:, None].expand(-1, masks.shape[1], -1, -1, -1).flatten(0, 1)
    moved = grid_sample(every, grid, align_corners=True).unflatten(0, masks.shape[:2]) * masks[:, :, None]
    return moved.amax(1).to(features.dtype).contiguous(memory_format=torch.channels_last)


def change(name: str) -> None:
    """Put the change in the place of what it changes."""
    if name != "r1":
        PRESETS["modern"] = replace(MODERN, gradient_penalty=0.0)
    if name == "bilinear":
        Generator.plan, networks.apply_plan = bilinear_plan, apply_bilinear_plan
    trainer.Objectives = {"hinge": Hinge, "l1": WithL1, "layers": TwoLayers}.get(name, Objectives)
    discriminators: dict[str, Callable[..., Discriminator]] = {"hinge": normalised, "shifts": shifted}
    trainer.build_discriminator = discriminators.get(name, build_discriminator)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("change", choices=["none", "hinge", "l1", "layers", "shifts", "bilinear", "r1"])
    options, arguments = parser.parse_known_args()
    change(options.change)
    main(["gan", "train", *arguments])
