"""The presets of ``gan.fidelity``: each point of docs/fidelity.md on which they differ is a field.

Code reads the field that it needs and never the preset's name, so another preset is another instance.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from augment.base.errors import UsageError

Outline = Literal["transform", "mask"]


@dataclass(frozen=True)
class LimbRule:
    """A limb's rectangle: its width in torso scales, the rest in lengths of the limb."""

    width: float
    before: float  # how far it reaches beyond the limb's start
    beyond: float  # beyond its end
    beyond_outer: Mapping[Outline, float]  # beyond the end of a shank or forearm: the rectangle fitted, the mask


@dataclass(frozen=True)
class Fidelity:
    """One preset of ``gan.fidelity``."""

    name: str
    # Geometry (Sec. 3.1)
    torso_scale: Literal["rms-of-sides", "mean-of-diagonals"]
    limb: LimbRule
    head: Literal["joints", "box"]  # its joints and a square around their mean, or the joints' upright box
    fit: Literal["target-to-source", "source-to-target"]  # direction in which Eq. 2 is solved
    homogeneous_fit: bool  # by total least squares of the homogeneous equations, as skimage does; else by Eq. 2
    mask_order: Literal["warp-then-mask", "mask-then-warp"]  # Eq. 3 is the latter
    deformed_levels: int | None  # number of the finest skips that are deformed; None: all
    # Networks (Sec. 5)
    heatmap: Literal["gaussian", "exponential"]  # Eq. 1 is the latter
    slope: float  # of the encoder's and the discriminator's leaky ReLU; 0 is ReLU
    norm: Literal["sample", "instance"]  # statistics over C, H, W of a sample, or over H, W of each channel
    normalised_ends: bool  # the encoder's first and last layers have the norm too
    smoothed_upsampling: bool  # a fixed 2x2 box filter after the last transposed convolution
    discriminator_padding: int  # of its first convolution; 0 gives 3x1 patches at 128x64
    discriminator_norm: bool  # on its hidden layers; its convolutions have a bias where there is none
    discriminator_output: Literal["patches", "scalar"]
    # Losses (Sec. 4, App. A)
    adversarial: Literal["non-saturating", "minimax"]  # Eq. 5 is the latter
    logarithm_offset: float  # added to each probability before its logarithm is taken
    gradient_penalty: float  # weight of D's squared gradient at real images (R1) in its loss; 0: none
    reduction: Literal["mean", "sum"]  # of the reconstruction over pixels; Eq. 8 is the latter
    reconstruction_weights: Mapping[str, float]  # by system; λ of Eq. 10 for full
    swapped_channel_means: bool  # blue's mean is subtracted from red and red's from blue, before Caffe's VGG-19


RELEASED = Fidelity(
    name="released",
    torso_scale="rms-of-sides",
    # The end is lengthened by a share of the limb that was already lengthened at the start: hence 1.1.
    limb=LimbRule(0.4, 0.1, 0.1 * 1.1, {"transform": 0.3 * 1.1, "mask": 0.5 * 1.1}),
    head="joints",
    fit="target-to-source",
    homogeneous_fit=True,
    mask_order="warp-then-mask",
    deformed_levels=4,
    heatmap="gaussian",
    slope=0.2,
    norm="sample",
    normalised_ends=False,
    smoothed_upsampling=False,
    discriminator_padding=0,
    discriminator_norm=True,
    discriminator_output="patches",
    adversarial="non-saturating",
    logarithm_offset=1e-7,
    gradient_penalty=0.0,
    reduction="mean",
    reconstruction_weights={"baseline": 100.0, "dsc": 100.0, "percloss": 0.5, "full": 0.01},
    swapped_channel_means=True,
)

PAPER = Fidelity(
    name="paper",
    torso_scale="mean-of-diagonals",
    limb=LimbRule(1 / 3, 0.0, 0.0, {"transform": 0.0, "mask": 0.0}),
    head="box",
    fit="source-to-target",
    homogeneous_fit=False,
    mask_order="mask-then-warp",
    deformed_levels=None,
    heatmap="exponential",
    slope=0.0,
    norm="instance",
    normalised_ends=True,
    smoothed_upsampling=False,
    discriminator_padding=1,
    discriminator_norm=False,
    discriminator_output="scalar",
    adversarial="minimax",
    logarithm_offset=0.0,
    gradient_penalty=0.0,
    reduction="sum",
    reconstruction_weights=dict.fromkeys(("baseline", "dsc", "percloss", "full"), 0.01),  # Eq. 10; no other is given
    swapped_channel_means=False,
)

MODERN = replace(
    RELEASED,
    name="modern",
    homogeneous_fit=False,
    smoothed_upsampling=True,
    logarithm_offset=0.0,
    gradient_penalty=1.0,
    swapped_channel_means=False,
)

PRESETS = {preset.name: preset for preset in (PAPER, RELEASED, MODERN)}


def preset(fidelity: Fidelity | str) -> Fidelity:
    """The preset of a name; a preset is returned as it is. Raises :class:`UsageError` that lists the names."""
    if isinstance(fidelity, Fidelity):
        return fidelity
    if fidelity not in PRESETS:
        raise UsageError(f"gan.fidelity={fidelity}: there is no such preset; there are {', '.join(PRESETS)}.")
    return PRESETS[fidelity]
