"""Layers that PyTorch lacks in this form, or has slower (docs/fidelity.md for the norm)."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from augment.gan.kernels.rows import as_map, pixel_rows

_TINY = 1e-12  # added to a variance, for that of a constant
_FEW = 32  # pixels


class SampleNorm(nn.Module):
    """The released code's "instance" norm: mean and deviation over all of C, H, W, one scalar scale and shift."""

    twice_differentiable = False

    def __init__(self, eps: float = 1e-3):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape. ``eps`` is added to the deviation, not to the variance."""
        if self.twice_differentiable:
            centred = x - x.mean(dim=(1, 2, 3), keepdim=True)
            deviation = centred.square().mean(dim=(1, 2, 3), keepdim=True).add(_TINY).sqrt()
            return self.weight * centred / (deviation + self.eps) + self.bias
        norm = _FusedSampleNorm if x.device.type == "cpu" else _SampleNorm
        return norm.apply(x, self.weight, self.bias, self.eps)


@contextmanager
def twice_differentiable(network: nn.Module) -> Iterator[None]:
    """Within it the network's norms are made of operations whose gradient has a gradient; slower, and in fp32."""
    norms = [module for module in network.modules() if isinstance(module, SampleNorm)]
    for norm in norms:
        norm.twice_differentiable = True
    try:
        yield
    finally:
        for norm in norms:
            norm.twice_differentiable = False


class _SampleNorm(torch.autograd.Function):
    """Its definition, with the backward pass written out: torch.std_mean and its gradient are many more kernels."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        exact = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        centred = exact - exact.mean(dim=(1, 2, 3), keepdim=True)
        deviation = torch.linalg.vector_norm(centred, dim=(1, 2, 3), keepdim=True) / x[0].numel() ** 0.5
        ctx.save_for_backward(centred, deviation, weight)
        ctx.eps, ctx.dtype = eps, x.dtype
        return torch.addcmul(bias, centred, weight / (deviation + eps)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        # y = w c r + b with c = x - mean, r = 1 / (s + eps), s² = Σ c² / n, hence ds/dc = c / (n s)
        centred, deviation, weight = ctx.saved_tensors
        gradient = gradient.to(centred.dtype)
        inverse = 1 / (deviation + ctx.eps)
        count = centred[0].numel()
        total = gradient.sum(dim=(1, 2, 3), keepdim=True)
        along = (gradient * centred).sum(dim=(1, 2, 3), keepdim=True)
        pull = weight * inverse.square() * along / (count * deviation.clamp_min(torch.finfo(deviation.dtype).tiny))
        slope = torch.addcmul(-weight * inverse * total / count, gradient, weight * inverse).addcmul_(centred, -pull)
        return slope.to(ctx.dtype), (inverse * along).sum(), total.sum(), None


class _FusedSampleNorm(torch.autograd.Function):
    """By the kernels of group and batch norm, each a single pass: a sample's values are one group, and one channel.

    With c = x - mean, s = sqrt(mean(c²)) and y = w c / (s + eps) + b, the gradient of x for dL/dy = g is
    w / (s + eps) (g - mean(g) - c mean(g c) / (s (s + eps))): that of a batch norm whose inverse deviation i is
    1 / sqrt(s (s + eps)) and whose scale is w / (i (s + eps)).

    For a CPU: on CUDA these take no bf16 beside parameters in fp32, and share four samples among four processors.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        batch, rows = len(x), pixel_rows(x).reshape(1, len(x), -1)
        exact = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
        one = torch.ones(1, dtype=exact, device=x.device)  # statistics have the precision of the parameters
        _, mean, inverse = torch.native_group_norm(
            rows.view(batch, 1, -1), one, torch.zeros_like(one), batch, 1, rows.shape[2], 1, _TINY
        )
        mean, deviation = mean[:, 0], 1 / inverse[:, 0]
        scale, shift = (parameter.to(exact).repeat(batch) for parameter in (weight, bias))
        y, _, _ = torch.native_batch_norm(
            rows, scale, shift, mean, (deviation + eps).square(), training=False, momentum=0, eps=0
        )
        ctx.save_for_backward(x, mean, deviation, weight)
        ctx.eps = eps
        return as_map(y, x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, deviation, weight = ctx.saved_tensors
        widened = deviation + ctx.eps
        inverse = (deviation * widened).rsqrt()
        scale = weight.to(inverse.dtype) / (inverse * widened)
        rows = [pixel_rows(tensor).reshape(1, len(x), -1) for tensor in (gradient, x)]
        slope, along, total = torch.ops.aten.native_batch_norm_backward(
            *rows, scale, None, None, mean, inverse, True, 0, [True, True, True]
        )  # along: the sums of g c i, total: those of g
        return as_map(slope, x), (along / (inverse * widened)).sum(), total.sum(), None


class HalvingConvolution(nn.Conv2d):
    """4x4, stride 2, one pixel of padding. On few pixels, or with many channels, it is done as a matrix product."""

    def __init__(self, inputs: int, outputs: int, bias: bool):
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/2, W/2)."""
        if self.bias is not None or not _faster_as_product(x, self.weight, finer=x.numel()):
            return super().forward(x)
        if _in_bf16(x) and not torch.is_grad_enabled():
            return super().forward(x)  # oneDNN shares the sums of such a product among threads: images would differ
        return _HalvingProduct.apply(*_as_autocast(x, self.weight))


class DoublingConvolution(nn.ConvTranspose2d):
    """The transpose: 4x4, stride 2, without bias. In the same cases, again a matrix product."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, 2H, 2W)."""
        if not _faster_as_product(x, self.weight, finer=4 * len(x) * math.prod(x.shape[2:]) * self.out_channels):
            return super().forward(x)
        return _DoublingProduct.apply(*_as_autocast(x, self.weight))


def _faster_as_product(x: Tensor, weight: Tensor, finer: int) -> bool:
    """``finer``: values of the finer of its two maps. In training in bf16 oneDNN is slow where kernels are larger."""
    if x.device.type != "cpu":
        return False
    if _in_bf16(x) and torch.is_grad_enabled():
        return weight.numel() >= 2 * finer
    return math.prod(x.shape[2:]) <= _FEW


def _in_bf16(x: Tensor) -> bool:
    """Whether a convolution of ``x`` is computed in bf16 here, by autocast or by its own type."""
    kind = x.device.type
    return (torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype) == torch.bfloat16


def _as_autocast(*tensors: Tensor) -> list[Tensor]:
    """In the type in which autocast, if it is on, gives tensors to PyTorch's convolutions."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]


class _HalvingProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        height, width = (_windows(side) for side in x.shape[2:])
        return (_patches(x) @ _kernels(weight).t()).view(len(x), height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = pixel_rows(gradient)
        return (
            _overlap_add(rows @ _kernels(weight), x.shape) if ctx.needs_input_grad[0] else None,
            _as_kernels(rows.t() @ _patches(x), weight) if ctx.needs_input_grad[1] else None,
        )


class _DoublingProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        batch, _, height, width = x.shape
        return _overlap_add(pixel_rows(x) @ _kernels(weight), (batch, weight.shape[1], 2 * height, 2 * width))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        patches = _patches(gradient)
        return (
            as_map(patches @ _kernels(weight).t(), x) if ctx.needs_input_grad[0] else None,
            _as_kernels(pixel_rows(x).t() @ patches, weight) if ctx.needs_input_grad[1] else None,
        )


def _kernels(weight: Tensor) -> Tensor:
    """(N, C, 4, 4) -> (N, 16·C), a view of channels-last weights."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _as_kernels(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of :func:`_kernels`."""
    count, channels = like.shape[:2]
    return rows.view(count, 4, 4, channels).permute(0, 3, 1, 2)


def _windows(side: int) -> int:
    """How many steps of two a kernel of 4 takes on a side with a pixel of padding at each end."""
    return (side - 2) // 2 + 1


def _patches(maps: Tensor) -> Tensor:
    """What those kernels read of maps (B, C, H, W): (B·windows, 16·C), in the order of :func:`_kernels`."""
    padded = functional.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 4, 2).unfold(2, 4, 2).permute(0, 1, 2, 4, 5, 3)
    return windows.reshape(-1, 16 * maps.shape[1])  # functional.unfold is slow


def _overlap_add(patches: Tensor, shape: Sequence[int]) -> Tensor:
    """The transpose of :func:`_patches`: each pixel of the maps of ``shape`` is the sum of those that read it."""
    batch, channels, height, width = shape
    rows, columns = _windows(height), _windows(width)
    patches = patches.view(batch, rows, columns, 4, 4, channels)
    padded = patches.new_zeros(batch, rows + 1, 2, columns + 1, 2, channels)
    for y in range(4):
        for x in range(4):
            padded[:, y // 2 : y // 2 + rows, y % 2, x // 2 : x // 2 + columns, x % 2] += patches[:, :, :, y, x]
    padded = padded.view(batch, 2 * rows + 2, 2 * columns + 2, channels)
    return padded[:, 1 : height + 1, 1 : width + 1].contiguous().permute(0, 3, 1, 2)  # functional.fold is slow
