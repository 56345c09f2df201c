"""The fast form of Eq. 3 and 4 (``gan/warp.py`` states them plainly, and how coordinates are rounded).

Sampling is nearest and masks are binary, so an output pixel is the maximum over a few source pixels (usually one, the
torso's) and zero. Which ones depends on the poses alone: :func:`plan_deformation` lists them once per batch for every
resolution, :func:`apply_plan` gathers. Pixels that a limb does not cover cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from augment.gan.fidelity import Fidelity, preset
from augment.gan.kernels.pixels import list_candidates
from augment.gan.kernels.rows import as_map, pixel_rows

HALF = 0.5 + 1e-3  # within 1/1000 pixel of a half counts as a half, so that rounding errors do not matter


@dataclass(frozen=True)
class LevelPlan:
    """Where every pixel of one resolution takes its values from. Rows number the pixels of the batch: (b·h + y)·w + x.

    On a CPU step k holds only the pixels that have more than k candidates: ``pixels[k]`` (their rows) and
    ``sources[k]`` (the rows they read). Elsewhere ``table`` (B·h·w, R) has the row that each pixel reads for each
    region, B·h·w for "nothing": fixed shapes, no synchronisation with the device.
    """

    size: tuple[int, int]
    table: Tensor | None = None
    sources: tuple[Tensor, ...] = ()
    pixels: tuple[Tensor, ...] = ()
    empty: Tensor | None = None  # rows without any candidate
    full: Tensor | None = None  # rows where every region is a candidate, so that zero is none


Plan = dict[tuple[int, int], LevelPlan]


def plan_deformation(
    matrices: Tensor,
    masks: Tensor,
    valid: Tensor,
    image_size: tuple[int, int],
    levels: Sequence[tuple[int, int]],
    *,
    fidelity: Fidelity | str = "released",
    batch: int | None = None,
) -> Plan:
    """What :func:`apply_plan` needs for feature maps of the sizes ``levels`` (h, w): once per batch, for all channels.

    matrices (B, R, 2, 3): source to target pixels at ``image_size`` (H, W). masks (B, R, H, W), of the target's regions
    for ``released`` (warp, then mask), of the source's for ``paper`` (Eq. 3: mask, then warp). valid (B, R). Plans of
    several batches of ``batch`` pairs can be made at once where plans are tables: rows then count within a batch.
    """
    sampling, invertible = _inverse_affine(matrices)
    usable = valid & invertible
    mask_first = preset(fidelity).mask_order == "mask-then-warp"
    dense = partial(_dense_level, batch=batch or len(matrices))
    build = dense if plans_are_tables(matrices.device) else _compact_level
    return {size: build(sampling, masks.bool(), usable, image_size, size, mask_first) for size in levels}


def plans_are_tables(device: torch.device) -> bool:
    """Whether plans on this device have fixed shapes, a table per level."""
    return device.type != "cpu"


def apply_plan(plan: Plan, features: Tensor) -> Tensor:
    """d(F) of Eq. 4: features (B, C, h, w) of one of the plan's sizes, deformed; the same shape, channels last."""
    return _Deform.apply(features, plan[features.shape[2], features.shape[3]])


def deform(
    features: Tensor,
    matrices: Tensor,
    masks: Tensor,
    valid: Tensor,
    image_size: tuple[int, int],
    *,
    fidelity: Fidelity | str = "released",
) -> Tensor:
    """One map (B, C, h, w) deformed in one go; arguments as for :func:`plan_deformation`."""
    size = (features.shape[2], features.shape[3])
    return apply_plan(plan_deformation(matrices, masks, valid, image_size, [size], fidelity=fidelity), features)


def _inverse_affine(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse maps, target to source, (B, R, 2, 3) in float64, and whether each exists (B, R)."""
    m = matrices.to(torch.float64)
    (a, b, x), (c, d, y) = (row.unbind(-1) for row in m.unbind(-2))
    det = a * d - b * c
    size = m[..., :2].square().sum((-1, -2))
    good = m.isfinite().flatten(2).all(2) & (det.abs() > 1e-9 * size)
    det = torch.where(good, det, 1.0)
    inverse = torch.stack((d, -b, b * y - d * x, -c, a, c * x - a * y), dim=-1).unflatten(-1, (2, 3))
    return torch.where(good[..., None, None], inverse / det[..., None, None], 0.0), good


def _level_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest, as the coordinates above: row i of the level is row ⌊i·H/h⌋ of the mask."""
    (height, width), (h, w) = masks.shape[2:], size
    if height % h == 0 and width % w == 0:
        return masks[:, :, :: height // h, :: width // w]
    rows = torch.arange(h, device=masks.device) * height // h
    columns = torch.arange(w, device=masks.device) * width // w
    return masks[:, :, rows[:, None], columns]


def _source_pixels(
    sampling: Tensor, rows: Tensor, columns: Tensor, image_size: tuple[int, int], size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column that a pixel of a level reads, and whether it is inside. ``sampling`` (2, 3, ...) broadcasts."""
    (h, w), (height, width) = size, image_size
    y, x = rows * (height / h), columns * (width / w)
    (xx, xy, x0), (yx, yy, y0) = sampling
    column = ((xx * x + x0 + xy * y) * (w / width) + HALF).floor()
    row = ((yx * x + y0 + yy * y) * (h / height) + HALF).floor()
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    return row.clamp(0, h - 1).long(), column.clamp(0, w - 1).long(), inside


def _compact_level(
    sampling: Tensor, masks: Tensor, usable: Tensor, image_size: tuple[int, int], size: tuple[int, int],
    mask_first: bool,
) -> LevelPlan:  # fmt: skip
    batch, regions, h, w = *masks.shape[:2], *size
    level = _level_masks(masks, size).contiguous()
    first, count = np.zeros(batch * h * w, np.int64), np.zeros(batch * h * w, np.int64)
    most = int(usable.sum()) * h * w if mask_first else int(level.sum())
    further = [np.empty(most, np.int64) for _ in range(3)]
    found = list_candidates(
        sampling.numpy(), level.numpy(), usable.numpy(), image_size, HALF, mask_first, first, count, *further
    )
    pixel, source, rank = (torch.from_numpy(numbers[:found]) for numbers in further)
    first, count = torch.from_numpy(first), torch.from_numpy(count)
    steps = [rank == k for k in range(1, int(count.max()))] if len(count) else []
    return LevelPlan(
        size,
        sources=(first, *(source[step] for step in steps)),
        pixels=tuple(pixel[step] for step in steps),
        empty=(count == 0).nonzero().squeeze(1),
        full=(count == regions).nonzero().squeeze(1),
    )


def _dense_level(
    sampling: Tensor, masks: Tensor, usable: Tensor, image_size: tuple[int, int], size: tuple[int, int],
    mask_first: bool, batch: int,
) -> LevelPlan:  # fmt: skip
    h, w = size
    level = _level_masks(masks, size)
    y = torch.arange(h, device=masks.device, dtype=torch.float64)[:, None]
    x = torch.arange(w, device=masks.device, dtype=torch.float64)
    row, column, inside = _source_pixels(sampling.permute(2, 3, 0, 1)[..., None, None], y, x, image_size, size)
    pixel = row * w + column
    if mask_first:
        level = level.flatten(2).gather(2, pixel.flatten(2)).view_as(level)
    image = (torch.arange(len(masks), device=masks.device) % batch).view(-1, 1, 1, 1) * (h * w)
    table = torch.where(inside & level & usable[..., None, None], image + pixel, batch * h * w)
    return LevelPlan(size, table=table.permute(0, 2, 3, 1).flatten(0, 2))


class _Deform(torch.autograd.Function):
    """Gather and maximum on rows of channels; the gradient goes to the one source pixel that was largest."""

    @staticmethod
    def forward(ctx, features: Tensor, plan: LevelPlan) -> Tensor:
        ctx.plan = plan
        rows = pixel_rows(features)
        out, saved = (_forward_compact if plan.table is None else _forward_dense)(rows, plan)
        ctx.save_for_backward(*saved)
        return as_map(out, features)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        rows = pixel_rows(gradient)
        backward = _backward_compact if ctx.plan.table is None else _backward_dense
        return as_map(backward(rows, ctx.plan, ctx.saved_tensors), gradient), None


def _forward_compact(rows: Tensor, plan: LevelPlan) -> tuple[Tensor, list[Tensor]]:
    out = rows.index_select(0, plan.sources[0]).clamp_min_(0)  # zero is a candidate wherever a region is none
    out.index_fill_(0, plan.empty, 0)
    if len(plan.full):
        out.index_copy_(0, plan.full, rows.index_select(0, plan.sources[0].index_select(0, plan.full)))
    won = []
    for pixels, sources in zip(plan.pixels, plan.sources[1:], strict=True):
        best, value = out.index_select(0, pixels), rows.index_select(0, sources)
        won.append(value > best)
        out.index_copy_(0, pixels, torch.maximum(best, value))
    return out, [out, *won]


def _backward_compact(gradient: Tensor, plan: LevelPlan, saved: Sequence[Tensor]) -> Tensor:
    out, *won = saved
    remaining = torch.where(out > 0, gradient, 0.0)
    if len(plan.full):
        remaining.index_copy_(0, plan.full, gradient.index_select(0, plan.full))
    result = torch.zeros_like(remaining)
    for pixels, sources, mine in reversed(list(zip(plan.pixels, plan.sources[1:], won, strict=True))):
        share = remaining.index_select(0, pixels)  # the last to exceed the running maximum has won
        _scatter_rows(result, sources, share * mine)
        remaining.index_copy_(0, pixels, share.masked_fill_(mine, 0))
    return _scatter_rows(result, plan.sources[0], remaining)


def _scatter_rows(result: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """result[rows] += values; an expanded index is what torch has a parallel kernel for, unlike index_add_."""
    return result.scatter_add_(0, rows[:, None].expand_as(values), values)


def _forward_dense(rows: Tensor, plan: LevelPlan) -> tuple[Tensor, list[Tensor]]:
    rows = torch.cat((rows, rows.new_zeros(1, rows.shape[1])))
    first, *others = plan.table.unbind(1)
    out = rows.index_select(0, first)
    winner = torch.zeros_like(out, dtype=torch.int8)
    for region, sources in enumerate(others, start=1):
        value = rows.index_select(0, sources)
        winner = torch.where(value > out, region, winner)
        out = torch.maximum(out, value)
    return out, [winner]


def _backward_dense(gradient: Tensor, plan: LevelPlan, saved: Sequence[Tensor]) -> Tensor:
    """One scatter. Where zero has won, a pixel adds 0 to itself; additions to one shared row are serial."""
    (winner,) = saved
    source = plan.table.gather(1, winner.long())
    nothing = source == len(gradient)
    own = torch.arange(len(gradient), device=gradient.device)[:, None]
    wide = torch.promote_types(gradient.dtype, torch.float32)  # a pixel may be read often
    result = torch.zeros(gradient.shape, device=gradient.device, dtype=wide)
    result.scatter_add_(0, torch.where(nothing, own, source), gradient.masked_fill(nothing, 0).to(wide))
    return result.to(gradient.dtype)
