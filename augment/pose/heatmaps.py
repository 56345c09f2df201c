"""Heat maps of joints (Eq. 1), rendered on the device when needed and never stored."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


def render_heatmaps(
    joints: Float[Tensor, "B J 2"],
    size: tuple[int, int],
    sigma: float = 6.0,
    form: Literal["gaussian", "exponential"] = "gaussian",
) -> Float[Tensor, "B J H W"]:
    """A map of ``size`` (H, W) per joint, 1 at its place; joints are (x, y) in pixels, NaN missing.

    gaussian: exp(-d² / (2 σ²)), as in the released code; exponential: exp(-d / σ²), Eq. 1 as printed. A missing joint
    gives a map of zeros. On the joints' device, in their dtype.
    """
    height, width = size
    missing = torch.isnan(joints).any(dim=-1)
    x, y = torch.where(missing[..., None], 0.0, joints).unbind(dim=-1)
    dx2 = (torch.arange(width, device=joints.device, dtype=joints.dtype) - x[..., None]) ** 2  # (B, 18, W)
    dy2 = (torch.arange(height, device=joints.device, dtype=joints.dtype) - y[..., None]) ** 2  # (B, 18, H)
    if form == "gaussian":
        # separable: H + W exponentials a joint, not H x W. Missing joints are zeroed here, on the short axis.
        row = torch.exp(dx2 / (-2 * sigma**2)).masked_fill(missing[..., None], 0)
        column = torch.exp(dy2 / (-2 * sigma**2))
        # Channels last in memory, as the convolutions that take it want it.
        row, column = (profile.transpose(1, 2).contiguous() for profile in (row, column))
        return (column[:, :, None] * row[:, None]).permute(0, 3, 1, 2)
    if form == "exponential":
        dx2 = dx2.masked_fill(missing[..., None], torch.inf)  # infinitely far away
        return torch.exp((dy2[..., :, None] + dx2[..., None, :]).sqrt() / -(sigma**2))
    raise ValueError(f"form must be 'gaussian' or 'exponential', not {form!r}")
