"""Layers that PyTorch lacks in this form, or has slower (docs/fidelity.md for the norm)."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from augment.gan.kernels.rows import as_map, pixel_rows

_TINY = 1e-12  # added to a variance, for that of a constant
_FEW = 32  # input pixels up to which a convolution of many channels is faster as one matrix product on a CPU


class SampleNorm(nn.Module):
    """The released code's "instance" norm: mean and deviation over all of C, H, W, one scalar scale and shift."""

    def __init__(self, eps: float = 1e-3):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape. ``eps`` is added to the deviation, not to the variance."""
        norm = _FusedSampleNorm if x.device.type == "cpu" else _SampleNorm
        return norm.apply(x, self.weight, self.bias, self.eps)


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
    """4x4, stride 2, one pixel of padding. On few pixels it is done as a matrix product."""

    def __init__(self, inputs: int, outputs: int, bias: bool):
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/2, W/2)."""
        batch, channels, height, width = x.shape
        if x.device.type != "cpu" or height * width > _FEW or self.bias is not None:
            return super().forward(x)
        if x.dtype == torch.bfloat16 and not torch.is_grad_enabled():
            return super().forward(x)  # oneDNN shares the sums of such a product among threads: images would differ
        padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        patches = padded.unfold(1, 4, 2).unfold(2, 4, 2).permute(0, 1, 2, 4, 5, 3)  # (B, H/2, W/2, 4, 4, inputs)
        rows = patches.reshape(-1, 16 * channels)  # in the order of channels-last weights; functional.unfold is slow
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        return (rows @ weight.t()).view(batch, height // 2, width // 2, -1).permute(0, 3, 1, 2)


class DoublingConvolution(nn.ConvTranspose2d):
    """The transpose: 4x4, stride 2, without bias. On few pixels, again a matrix product."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, 2H, 2W)."""
        batch, channels, height, width = x.shape
        if x.device.type != "cpu" or height * width > _FEW:
            return super().forward(x)
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        patches = rows @ self.weight.permute(0, 2, 3, 1).reshape(channels, -1)
        patches = patches.view(batch, height * width, 16, -1).permute(0, 3, 2, 1).reshape(batch, -1, height * width)
        return functional.fold(patches, (2 * height, 2 * width), 4, padding=1, stride=2)
