"""A wider generator that begins where a narrower one ended (Net2Net: Chen, Goodfellow and Shlens, ICLR 2016).

Every channel is repeated, and what reads it shares its weight among the copies: the images stay almost the same, and
training goes on with more parameters.
"""

import torch
from torch import Tensor, nn

from augment.config import GanConfig
from augment.gan.networks import Decoder, Encoder, Generator, build_generator, scaled

_SPREAD = 0.1  # equal copies would have equal gradients, and stay copies


def channel_copies(narrow: float, wide: float) -> int | None:
    """How many copies of each channel of width ``narrow`` make ``wide``; None where that is no whole number."""
    counts = [(scaled(64 * 2**level, narrow), scaled(64 * 2**level, wide)) for level in range(4)]
    copies = counts[0][1] // counts[0][0]
    return copies if copies and all(after == copies * before for before, after in counts) else None


@torch.no_grad()
def widen(narrow: Generator, config: GanConfig, spread: float = _SPREAD) -> Generator:
    """The generator of ``config``, which differs from ``narrow``'s in a width for which there are
    :func:`channel_copies`.

    To the weights of copies noise is added whose mean over the copies is zero, of ``spread`` standard deviations of
    their layer, from ``config.seed``. Without it both generators make the same images, up to rounding.
    """
    wide = build_generator(config, narrow.image_size, narrow.skeleton)
    copies = wide.decoder.convolutions[0].out_channels // narrow.decoder.convolutions[0].out_channels
    random = torch.Generator().manual_seed(config.seed)
    streams = ("source_stream", "pose_stream") if narrow.deformable else ("source_stream",)
    for stream in streams:
        _widen_encoder(getattr(narrow, stream), getattr(wide, stream), copies, spread, random)
    _widen_decoder(narrow.decoder, wide.decoder, len(streams), copies, spread, random)
    return wide


def _widen_encoder(narrow: Encoder, wide: Encoder, copies: int, spread: float, random: torch.Generator) -> None:
    for level, (convolution, to) in enumerate(zip(narrow.convolutions, wide.convolutions, strict=True)):
        weight = convolution.weight if level == 0 else _shared(convolution.weight, 1, [convolution.in_channels], copies)
        to.weight.copy_(_repeated(weight, copies, spread, random))
        if to.bias is not None:
            to.bias.copy_(convolution.bias.repeat(copies))
    _widen_norms(narrow.norms, wide.norms, copies)


def _widen_decoder(narrow: Decoder, wide: Decoder, streams: int, copies: int, spread: float,
                   random: torch.Generator) -> None:  # fmt: skip
    below = 0  # channels of the layer below, which come before the skips
    for convolution, to in zip(narrow.convolutions, wide.convolutions, strict=True):
        blocks = _blocks(convolution.in_channels, below, streams)
        weight = _shared(convolution.weight, 0, blocks, copies).transpose(0, 1)
        to.weight.copy_(_repeated(weight, copies, spread, random).transpose(0, 1))
        below = convolution.out_channels
    blocks = _blocks(narrow.to_image.in_channels, below, streams)
    wide.to_image.weight.copy_(_shared(narrow.to_image.weight, 1, blocks, copies))
    wide.to_image.bias.copy_(narrow.to_image.bias)
    _widen_norms(narrow.norms, wide.norms, copies)


def _widen_norms(narrow: nn.ModuleList, wide: nn.ModuleList, copies: int) -> None:
    for norm, to in zip(narrow, wide, strict=True):
        for given, parameter in zip(norm.parameters(), to.parameters(), strict=True):
            parameter.copy_(given if given.ndim == 0 else given.repeat(copies))


def _blocks(inputs: int, below: int, streams: int) -> list[int]:
    """Channels of what a layer of the decoder reads: the layer below, and the skip of each stream."""
    return [below, *[(inputs - below) // streams] * streams]


def _shared(weight: Tensor, axis: int, blocks: list[int], copies: int) -> Tensor:
    """``weight`` for inputs of which each block is repeated, along their ``axis``."""
    return torch.cat([block for part in weight.split(blocks, axis) for block in [part / copies] * copies], axis)


def _repeated(weight: Tensor, copies: int, spread: float, random: torch.Generator) -> Tensor:
    """``weight`` with its outputs, the first axis, repeated with noise."""
    noise = torch.randn(copies, *weight.shape, generator=random)
    noise -= noise.mean(0)
    return (weight + spread * weight.std() * noise).flatten(0, 1)
