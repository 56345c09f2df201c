"""Layers that PyTorch lacks in this form, or has slower (docs/fidelity.md for the norm)."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

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
        return _SampleNorm.apply(x, self.weight, self.bias, self.eps)


class _SampleNorm(torch.autograd.Function):
    """torch.std_mean is not vectorised on a CPU; plain sums with an explicit backward pass take a fifth of its time."""

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


class HalvingConvolution(nn.Conv2d):
    """4x4, stride 2, one pixel of padding. On few pixels it is done as a matrix product."""

    def __init__(self, inputs: int, outputs: int, bias: bool):
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/2, W/2)."""
        batch, channels, height, width = x.shape
        if x.device.type != "cpu" or height * width > _FEW or self.bias is not None:
            return super().forward(x)
        patches = functional.unfold(x, 4, padding=1, stride=2).view(batch, channels, 16, -1)
        rows = patches.permute(0, 3, 2, 1).reshape(-1, 16 * channels)  # in the order of channels-last weights
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
