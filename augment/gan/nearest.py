"""The search inside the nearest-neighbour loss (App. A), without the n² maps that it is usually written with.

The forward pass keeps the best distance so far and its offset; the backward pass looks at the chosen offset alone.
Memory beyond inputs and outputs does not grow with n. On a CPU each offset is one call: with the pixels of the batch
end to end as rows of channels, an offset is a step along the rows, and ``torch.cdist`` of single rows is subtraction,
absolute value and sum in one pass, without an intermediate map. Feature maps in channels-last format are such rows
already; others are transposed once.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def nearest_distances(fake: Tensor, real: Tensor, neighbourhood: int) -> Tensor:
    """min over q in N(p) of ||fake(p) - real(q)||_1, for every pixel p: (B, C, H, W) twice -> (B, H, W)."""
    return _Nearest.apply(fake, real, neighbourhood)


class _Nearest(torch.autograd.Function):
    @staticmethod
    def forward(ctx, fake: Tensor, real: Tensor, neighbourhood: int) -> Tensor:
        mine, theirs = _pixel_rows(fake), _pixel_rows(real)
        search = _search_rows if fake.device.type == "cpu" and fake.dtype.itemsize >= 4 else _search_maps
        distance, step = search(mine, theirs, neighbourhood, fake.shape)
        chosen = step.flatten() + torch.arange(len(mine), device=fake.device)
        ctx.save_for_backward(mine, theirs, chosen)
        return distance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        mine, theirs, chosen = ctx.saved_tensors
        slope = theirs.index_select(0, chosen)
        torch.sub(mine, slope, out=slope).sign_().mul_(gradient.reshape(-1, 1))
        other = torch.zeros_like(theirs).index_add_(0, chosen, slope, alpha=-1) if ctx.needs_input_grad[1] else None
        batch, height, width = gradient.shape
        slope, other = (
            None if rows is None else rows.view(batch, height, width, -1).permute(0, 3, 1, 2) for rows in (slope, other)
        )
        return slope, other, None


def _pixel_rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B·H·W, C): a view of a channels-last map, else a copy."""
    batch, channels, height, width = x.shape
    if x.device.type != "cpu" or not x.is_contiguous():
        return x.permute(0, 2, 3, 1).reshape(-1, channels)
    rows = x.new_empty(batch, height * width, channels)
    for image, to in zip(x.flatten(2), rows, strict=True):  # matrix by matrix: torch's blocked transposition
        to.copy_(image.t())
    return rows.flatten(0, 1)


def _offsets(neighbourhood: int) -> list[tuple[int, int]]:
    reach = range(-(neighbourhood // 2), neighbourhood // 2 + 1)
    return [(dy, dx) for dy in reach for dx in reach]


def _search_rows(mine: Tensor, theirs: Tensor, neighbourhood: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Smallest distance and the step along the rows that leads to it, both (B, H, W)."""
    batch, _, height, width = shape
    best = mine.new_full((batch, height, width), torch.inf)
    step = torch.zeros(best.shape, dtype=torch.long)
    distance = torch.empty_like(best)
    for dy, dx in _offsets(neighbourhood):
        if abs(dy) >= height or abs(dx) >= width:
            continue
        along = dy * width + dx
        first, count = max(0, -along), len(mine) - abs(along)
        pairs = torch.cdist(mine.narrow(0, first, count)[:, None], theirs.narrow(0, first + along, count)[:, None], p=1)
        distance.view(-1).narrow(0, first, count).copy_(pairs.view(-1))
        if dx:  # what wrapped around an edge of the image is out of reach
            distance[:, :, slice(-dx) if dx < 0 else slice(width - dx, width)] = torch.inf
        if dy:
            distance[:, slice(-dy) if dy < 0 else slice(height - dy, height)] = torch.inf
        step.masked_fill_(distance < best, along)
        torch.minimum(best, distance, out=best)
    return best, step


def _search_maps(mine: Tensor, theirs: Tensor, neighbourhood: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """The same in operations that a compiler fuses; distances of half-precision maps are summed in fp32."""
    batch, channels, height, width = shape
    radius = neighbourhood // 2
    mine, theirs = (rows.view(batch, height, width, channels) for rows in (mine, theirs))
    padded = functional.pad(theirs, (0, 0, radius, radius, radius, radius), value=torch.inf)
    wide = torch.promote_types(mine.dtype, torch.float32)
    best = mine.new_full((batch, height, width), torch.inf, dtype=wide)
    step = torch.zeros(best.shape, dtype=torch.long, device=mine.device)
    for dy, dx in _offsets(neighbourhood):
        shifted = padded[:, radius + dy : radius + dy + height, radius + dx : radius + dx + width]
        distance = (mine - shifted).abs().sum(-1, dtype=wide)
        step = torch.where(distance < best, dy * width + dx, step)
        best = torch.minimum(best, distance)
    return best, step
