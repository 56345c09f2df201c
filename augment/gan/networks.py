"""Generator and discriminator (Sec. 3, 5 and Fig. 2), in the presets that docs/fidelity.md compares.

``released`` follows the authors' code: 61,109,085 parameters in the generator for 128x64, 82,080,611 for 256x256,
2,803,782 in the discriminator. ``paper`` follows the text where the two differ. ``modern`` is ``released`` with a
smoothed upsampling.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augment.base.errors import UsageError
from augment.config import GanConfig
from augment.gan.fidelity import Fidelity, preset
from augment.gan.kernels.gather import Plan, apply_plan, plan_deformation
from augment.gan.kernels.layers import DoublingConvolution, HalvingConvolution, SampleNorm
from augment.gan.regions import deformation
from augment.gan.skeletons import HUMAN, Skeleton
from augment.pose.heatmaps import render_heatmaps

_DROPOUT_LAYERS = 3  # CD512 (Sec. 5)


def _norm(channels: int, fidelity: Fidelity) -> nn.Module:
    """Over a whole sample (:class:`SampleNorm`), or per channel [17]."""
    return SampleNorm() if fidelity.norm == "sample" else nn.InstanceNorm2d(channels, affine=True)


def channels_of(image_size: tuple[int, int], width: float) -> list[int]:
    """Channels of the encoder's layers, finest first: 64-128-256-512-512-512 at 128x64, one 512 more at 256x256.

    Raises :class:`UsageError` where the image cannot be halved so often.
    """
    height, columns = image_size
    levels = int(math.log2(max(image_size))) - 1
    step = 2 ** (levels - 1)
    if levels < 4 or height % step or columns % step or min(image_size) < 2 * step:
        raise UsageError(
            f"images of {height}x{columns} do not fit the generator: with {levels} scales both sides must be multiples "
            f"of {step} and at least {2 * step}. Set gan.image_size, for example [128, 64]."
        )
    return [scaled(64 * 2 ** min(level, 3), width) for level in range(levels)]


def scaled(channels: int, width: float) -> int:
    """``channels`` scaled by ``width``, at least 4."""
    return max(4, round(channels * width))


class Encoder(nn.Module):
    """One stream of the encoder: a convolution at full size, then a halving for each further scale."""

    def __init__(self, inputs: int, channels: list[int], fidelity: Fidelity):
        super().__init__()
        self.slope = fidelity.slope
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        for level, outputs in enumerate(channels):
            first, last = level == 0, level == len(channels) - 1
            plain = (first or last) and not fidelity.normalised_ends
            if first:
                self.convolutions.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=plain))
            else:
                self.convolutions.append(HalvingConvolution(inputs, outputs, bias=False))
            self.norms.append(nn.Identity() if plain else _norm(outputs, fidelity))
            inputs = outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs, H, W) -> the layers' outputs before activation, finest first."""
        features: list[Tensor] = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(F.leaky_relu(x, self.slope) if features else x))
            features.append(x)
        return features


class Decoder(nn.Module):
    """From the deepest features upwards, with the skips of every scale."""

    def __init__(self, skips: list[int], channels: list[int], fidelity: Fidelity):
        """``skips``: channels of all skips of a scale together, ``channels``: the encoder's; both finest first."""
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        inputs = skips[-1]
        for level in range(len(channels) - 2, -1, -1):
            outputs = channels[level + 1]
            self.convolutions.append(DoublingConvolution(inputs, outputs))
            self.norms.append(_norm(outputs, fidelity))
            inputs = outputs + skips[level]
        self.to_image = nn.Conv2d(inputs, 3, 3, padding=1)
        self.smoothed = fidelity.smoothed_upsampling

    def forward(self, skips: list[list[Tensor]], noise: list[Tensor] | None) -> Tensor:
        """Skips of each scale, finest first -> image (B, 3, H, W) in [-1, 1]. ``noise``: of the first layers."""
        x: list[Tensor] = []
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            raised = convolution(F.relu(torch.cat([*x, *skips[-1 - index]], 1), inplace=True))
            if self.smoothed and index == len(self.norms) - 1:
                raised = box_filter(raised)
            x = [norm(raised)]
            if noise is not None and index < len(noise):
                x = [x[0] * noise[index].to(x[0].dtype)]  # or all that follows would be of the wider type
        image = self.to_image(F.relu(torch.cat([*x, *skips[0]], 1), inplace=True))
        return torch.tanh(image.to(torch.promote_types(image.dtype, torch.float32)))  # bf16 has few steps next to ±1


def box_filter(x: Tensor) -> Tensor:
    """Mean of each pixel, its right, lower and lower right neighbour: (B, C, H, W) -> the same shape.

    Its response to the finest checkerboard, which transposed convolutions produce and VGG-19 hardly detects, is zero.
    """
    with torch.autocast(x.device.type, enabled=False):  # on a CPU it would widen the result, and all that follows
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, stride=1)


class Generator(nn.Module):
    """G of Fig. 2. Heat maps, regions and masks are made inside, on the device of the joints."""

    def __init__(self, config: GanConfig, image_size: tuple[int, int], skeleton: Skeleton):
        super().__init__()
        self.image_size = tuple(image_size)
        self.skeleton = skeleton
        self.fidelity = preset(config.fidelity)
        channels = channels_of(image_size, config.width)
        joints = len(skeleton.joints)
        self.deformable = config.system != "baseline"
        if self.deformable:
            self.source_stream = Encoder(3 + joints, channels, self.fidelity)
            self.pose_stream = Encoder(joints, channels, self.fidelity)
            skips = [2 * count for count in channels]
        else:  # Sec. 6.3: one stream of everything, plain skips
            self.source_stream = Encoder(3 + 2 * joints, channels, self.fidelity)
            skips = channels
        self.decoder = Decoder(skips, channels, self.fidelity)
        sizes = [(image_size[0] >> level, image_size[1] >> level) for level in range(len(channels))]
        self.deformed = sizes[: self.fidelity.deformed_levels]  # sizes of the features that are deformed, finest first
        coarsest = len(channels) - 1
        self.noise_shapes = [
            (convolution.out_channels, image_size[0] >> (coarsest - 1 - index), image_size[1] >> (coarsest - 1 - index))
            for index, convolution in enumerate(self.decoder.convolutions)
            if index < min(_DROPOUT_LAYERS, coarsest - 2)
        ]

    def sample_noise(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """z of Sec. 3, for ``count`` samples: dropout of half the activations of the CD layers, as factors 0 or 2."""
        return [
            torch.empty((count, *shape), device=generator.device).bernoulli_(0.5, generator=generator).mul_(2)
            for shape in self.noise_shapes
        ]

    @torch.no_grad()
    def plan(self, source_joints: Tensor, target_joints: Tensor, batch: int | None = None) -> Plan:
        """The geometry of pairs, joints (N, J, 2): where each deformed skip takes its values from (Eq. 2 to 4).

        ``batch``: as for :func:`plan_deformation`. Empty where nothing is deformed.
        """
        if not self.deformable:
            return {}
        matrices, masks, valid = deformation(
            source_joints, target_joints, self.image_size, self.skeleton, fidelity=self.fidelity
        )
        return plan_deformation(
            matrices, masks, valid, self.image_size, self.deformed, fidelity=self.fidelity, batch=batch
        )

    def forward(self, source: Tensor, source_joints: Tensor, target_joints: Tensor,
                noise: list[Tensor] | None = None, plan: Plan | None = None) -> Tensor:  # fmt: skip
        """Generate the person of ``source`` in another pose.

        ``source`` (B, 3, H, W) in [-1, 1]; joints (B, J, 2) in pixels, NaN where missing. ``noise`` from
        :meth:`sample_noise` when training; None (no dropout) otherwise. ``plan`` of these joints, from :meth:`plan`,
        if there is one already. Returns (B, 3, H, W) in [-1, 1].
        """
        of_source, pose = joint_maps(source_joints, target_joints, self.image_size, self.fidelity)
        appearance = torch.cat([source, of_source], 1)
        if not self.deformable:
            features = self.source_stream(torch.cat([appearance, pose], 1))
            return self.decoder([[level] for level in features], noise)
        plan = self.plan(source_joints, target_joints) if plan is None else plan
        deformed = [
            apply_plan(plan, level) if level.shape[2:] in plan else level for level in self.source_stream(appearance)
        ]
        skips = zip(deformed, self.pose_stream(pose), strict=True)
        return self.decoder([list(level) for level in skips], noise)


class Discriminator(nn.Module):
    """D of Fig. 2: whether ``image`` is a real image of this person in this pose."""

    def __init__(self, config: GanConfig, image_size: tuple[int, int], skeleton: Skeleton):
        super().__init__()
        self.image_size = tuple(image_size)
        self.fidelity = preset(config.fidelity)
        slope, normalised = self.fidelity.slope, self.fidelity.discriminator_norm
        # Images smaller than 128x64 have too few pixels for all three.
        hidden = [128, 256, 512][: max(1, int(math.log2(min(image_size))) - 3)]
        inputs = scaled(64, config.width)
        padding = self.fidelity.discriminator_padding
        layers: list[nn.Module] = [nn.Conv2d(6 + 2 * len(skeleton.joints), inputs, 4, stride=2, padding=padding)]
        for outputs in hidden:
            outputs = scaled(outputs, config.width)
            layers.append(nn.LeakyReLU(slope))
            layers.append(HalvingConvolution(inputs, outputs, bias=not normalised))
            if normalised:  # else C, not CN, in the paper's notation
                layers.append(_norm(outputs, self.fidelity))
            inputs = outputs
        layers += [nn.LeakyReLU(slope), HalvingConvolution(inputs, 1, bias=not normalised)]
        self.layers = nn.Sequential(*layers)

    def forward(self, source: Tensor, source_joints: Tensor, image: Tensor, target_joints: Tensor) -> Tensor:
        """Logits, positive for real: (B, 1, h, w), one per patch; (B, 1, 1, 1), their mean, in ``paper``.

        Images (B, 3, H, W) in [-1, 1], joints (B, J, 2) in pixels. The sigmoid of the last layer is in the loss.
        """
        of_source, of_target = joint_maps(source_joints, target_joints, self.image_size, self.fidelity)
        logits = self.layers(torch.cat([source, of_source, image, of_target], 1))
        return logits if self.fidelity.discriminator_output == "patches" else logits.mean(dim=(2, 3), keepdim=True)


def joint_maps(source: Tensor, target: Tensor, size: tuple[int, int], fidelity: Fidelity) -> tuple[Tensor, ...]:
    """H of Eq. 1 for two poses (B, J, 2): (B, J, H, W) each, rendered together."""
    return render_heatmaps(torch.cat([source, target]), size, form=fidelity.heatmap).chunk(2)


def build_generator(config: GanConfig, image_size: tuple[int, int] = (128, 64),
                    skeleton: Skeleton = HUMAN) -> Generator:  # fmt: skip
    """The generator of ``config.system``, initialised from ``config.seed``.

    Raises :class:`UsageError` where images of that size (H, W) do not fit.
    """
    return _initialised(Generator(config, image_size, skeleton), config.seed)


def build_discriminator(config: GanConfig, image_size: tuple[int, int] = (128, 64),
                        skeleton: Skeleton = HUMAN) -> Discriminator:  # fmt: skip
    """The discriminator, the same in all four systems, initialised from ``config.seed``."""
    channels_of(image_size, config.width)  # refuse what the generator would
    return _initialised(Discriminator(config, image_size, skeleton), config.seed + 1)


def _initialised(network: nn.Module, seed: int) -> nn.Module:
    """Glorot's uniform weights and zero biases: Keras' defaults, used for the paper's tables."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def count_parameters(network: nn.Module) -> int:
    """The number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())
