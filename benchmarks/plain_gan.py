"""The reference of the benchmarks: the same networks and losses in a straightforward form (fidelity ``released``).

Heat maps joint by joint over the whole map, one grid sample for each of the ten regions and each scale, n² shifted maps
in the nearest-neighbour loss, gradients for all that has weights, contiguous tensors, new images drawn for D and again
for G as the released code does. It has our parameters, so the same weights give the same images.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from augment.config import GanConfig
from augment.gan.dataset import Batch
from augment.gan.features import build_features
from augment.gan.kernels.layers import DoublingConvolution, HalvingConvolution, SampleNorm
from augment.gan.networks import Discriminator, Generator, build_discriminator, build_generator
from augment.gan.regions import part_transforms, region_masks
from augment.gan.skeletons import HUMAN


def heatmaps(joints: Tensor, size: tuple[int, int], sigma: float = 6.0) -> Tensor:
    maps = torch.zeros(*joints.shape[:2], *size)
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    for sample in range(len(joints)):
        for joint, (px, py) in enumerate(joints[sample].tolist()):
            if px == px:
                maps[sample, joint] = torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
    return maps


def deform(features: Tensor, matrices: Tensor, masks: Tensor, valid: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Ten times: warp the whole map, mask it; then the maximum (Eq. 3 and 4). Coordinates as in augment.gan.warp."""
    h, w = features.shape[2:]
    stride_y, stride_x = image_size[0] // h, image_size[1] // w
    y, x = torch.meshgrid(torch.arange(h) * stride_y, torch.arange(w) * stride_x, indexing="ij")
    grid = torch.stack([x, y, torch.ones_like(x)]).double().flatten(1)
    warped = []
    for region in range(matrices.shape[1]):
        full = torch.eye(3, dtype=torch.float64).repeat(len(features), 1, 1)
        full[:, :2] = matrices[:, region].double()
        source = (torch.linalg.inv(full)[:, :2] @ grid).view(-1, 2, h, w)
        # rounded here, half up: grid_sample's "nearest" rounds half to even
        column = (source[:, 0] / stride_x + 0.5 + 1e-3).floor()
        row = (source[:, 1] / stride_y + 0.5 + 1e-3).floor()
        where = torch.stack([(2 * column + 1) / w - 1, (2 * row + 1) / h - 1], -1).to(features.dtype)
        sampled = functional.grid_sample(features, where, mode="nearest", align_corners=False)
        mask = masks[:, region, ::stride_y, ::stride_x] & valid[:, region, None, None]
        warped.append(sampled * mask[:, None])
    return torch.stack(warped).amax(0)


def nearest_neighbour_loss(fake: Tensor, real: Tensor, neighbourhood: int = 3) -> Tensor:
    radius = neighbourhood // 2
    height, width = fake.shape[2:]
    padded = functional.pad(real, [radius] * 4, value=10_000.0)
    distances = []
    for dy in range(neighbourhood):
        for dx in range(neighbourhood):
            shifted = padded[:, :, dy : dy + height, dx : dx + width]
            distances.append((fake - shifted).abs().sum(1))
    return torch.stack(distances).amin(0).mean()


class PlainGenerator(Generator):
    def forward(self, source, source_joints, target_joints, noise=None):
        pose = heatmaps(target_joints, self.image_size)
        appearance = torch.cat([source, heatmaps(source_joints, self.image_size)], 1)
        matrices, valid = part_transforms(source_joints, target_joints)
        masks = region_masks(target_joints, self.image_size)
        skips = []
        for level, features in enumerate(self.source_stream(appearance)):
            if level < len(self.deformed):
                features = deform(features, matrices, masks, valid, self.image_size)
            skips.append(features)
        return self.decoder([list(two) for two in zip(skips, self.pose_stream(pose), strict=True)], noise)


class PlainDiscriminator(Discriminator):
    def forward(self, source, source_joints, image, target_joints):
        maps = [heatmaps(joints, self.image_size) for joints in (source_joints, target_joints)]
        return self.layers(torch.cat([source, maps[0], image, maps[1]], 1))


class PlainNorm(nn.Module):
    """augment.gan.kernels.layers.SampleNorm, step by step."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        std = ((x - mean) ** 2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return (x - mean) / (std + 1e-3) * self.weight + self.bias


class PlainTrainer:
    """An iteration: D on a batch of real and a batch of generated images, G on a third."""

    def __init__(self, config: GanConfig, image_size: tuple[int, int]):
        self.generator = PlainGenerator(config, image_size, HUMAN)
        self.discriminator = PlainDiscriminator(config, image_size, HUMAN)
        for network, ours in ((self.generator, build_generator), (self.discriminator, build_discriminator)):
            plain_layers(network)
            network.load_state_dict(ours(config, image_size).state_dict())
        self.average = {name: weight.clone() for name, weight in self.generator.state_dict().items()}
        self.features = build_features(config)
        adam = {"lr": config.learning_rate, "betas": (config.beta1, config.beta2), "foreach": False}
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), **adam)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), **adam)

    def step(self, real: Batch, for_discriminator: Batch, for_generator: Batch) -> tuple[float, float]:
        pairs = for_discriminator
        fake = self._generate(pairs).detach()
        on_real = self.discriminator(real.source, real.source_joints, real.target, real.target_joints)
        on_fake = self.discriminator(pairs.source, pairs.source_joints, fake, pairs.target_joints)
        loss = functional.softplus(-on_real).mean() + functional.softplus(on_fake).mean()
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        self.discriminator_optimizer.step()

        pairs = for_generator
        fake = self._generate(pairs)
        on_fake = self.discriminator(pairs.source, pairs.source_joints, fake, pairs.target_joints)
        reconstruction = 0.01 * nearest_neighbour_loss(self.features(fake), self.features(pairs.target))
        total = functional.softplus(-on_fake).mean() + reconstruction
        self.generator_optimizer.zero_grad()
        total.backward()
        self.generator_optimizer.step()
        for name, weight in self.generator.state_dict().items():
            self.average[name] = 0.999 * self.average[name] + 0.001 * weight
        return loss.item(), total.item()

    def _generate(self, batch: Batch) -> Tensor:
        noise = self.generator.sample_noise(len(batch), torch.Generator())
        return self.generator(batch.source, batch.source_joints, batch.target_joints, noise)


def plain_layers(network: nn.Module) -> None:
    """Put PyTorch's convolutions and a :class:`PlainNorm` in the places of our layers."""
    for module in network.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, SampleNorm):
                setattr(module, name, PlainNorm())
            elif isinstance(child, HalvingConvolution | DoublingConvolution):
                kind = nn.Conv2d if isinstance(child, HalvingConvolution) else nn.ConvTranspose2d
                setattr(module, name, kind(child.in_channels, child.out_channels, 4, stride=2, padding=1,
                                           bias=child.bias is not None))  # fmt: skip
