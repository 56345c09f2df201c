"""Which pixels are inside a region, and where they come from. A CPU loops over them, since limbs cover few pixels."""

import math

import numba
import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-9  # of a rectangle's edge: its border belongs to it


def inside_rectangles(first: Tensor, along: Tensor, across: Tensor, chosen: Tensor, size: tuple[int, int], *,
                      loops: bool) -> Tensor:  # fmt: skip
    """The pixels of ``size`` (H, W) inside the rectangles (B, R) or on their border: (B, R, H, W).

    ``first`` (B, R, 2) is a corner (x, y); ``along`` and ``across`` are the edges from it divided by their squared
    lengths, so that a scalar product is 0 at one end of the edge and 1 at the other. ``chosen`` (B, R): which to draw.
    """
    height, width = size
    if loops:
        masks = torch.zeros(*chosen.shape, height, width, dtype=torch.bool)
        _fill_rectangles(*(tensor.contiguous().numpy() for tensor in (first, along, across, chosen, masks)))
        return masks
    x = torch.arange(width, dtype=first.dtype, device=first.device)
    y = torch.arange(height, dtype=first.dtype, device=first.device)
    inside = chosen[..., None, None]
    for edge in (along, across):
        share = (x - first[..., 0:1]) * edge[..., 0:1]
        share_y = (y - first[..., 1:2]) * edge[..., 1:2]
        position = share[..., None, :] + share_y[..., :, None]
        inside = inside & ((position - 0.5).abs() <= 0.5 + TOLERANCE)
    return inside


@numba.njit(nogil=True, cache=True)
def _fill_rectangles(first, along, across, chosen, masks) -> None:
    """Set those pixels of ``masks``, all False."""
    batch, regions, height, width = masks.shape
    for b in range(batch):
        for r in range(regions):
            if not chosen[b, r]:
                continue
            x0, y0 = first[b, r]
            (ax, ay), (bx, by) = along[b, r], across[b, r]
            top = bottom = y0
            left = right = x0
            for ex, ey in ((ax, ay), (bx, by)):  # the edges again: e / |e|²
                square = max(ex * ex + ey * ey, 1e-300)
                left, right = left + min(ex / square, 0.0), right + max(ex / square, 0.0)
                top, bottom = top + min(ey / square, 0.0), bottom + max(ey / square, 0.0)
            # A pixel more on each side, as the edges were rounded.
            for y in range(_clipped(top - 1, height), _clipped(bottom + 2, height)):
                share_ay, share_by = (y - y0) * ay, (y - y0) * by
                for x in range(_clipped(left - 1, width), _clipped(right + 2, width)):
                    on_a, on_b = (x - x0) * ax + share_ay, (x - x0) * bx + share_by
                    masks[b, r, y, x] = abs(on_a - 0.5) <= 0.5 + TOLERANCE and abs(on_b - 0.5) <= 0.5 + TOLERANCE


@numba.njit(nogil=True, cache=True)
def list_candidates(sampling, masks, usable, image_size, half, mask_first, first, count, pixels, sources, ranks) -> int:
    """The source pixels of each pixel of a level (h, w), in the order of the regions.

    Returns the number of those after the first.

    ``sampling`` (B, R, 2, 3): target to source pixels of ``image_size`` (H, W); ``masks`` (B, R, h, w); ``usable``
    (B, R). Rows number the pixels of the batch. ``count`` (B·h·w), zeros at first, becomes the number of candidates and
    ``first`` the row of the first; each one after it appends its pixel's row, its own, and its place to the last three.
    """
    batch, regions, h, w = masks.shape
    height, width = image_size
    further = 0
    for b in range(batch):
        for r in range(regions):
            if not usable[b, r]:
                continue
            m = sampling[b, r]
            for i in range(h):
                y = i * (height / h)
                for j in range(w):
                    if not (mask_first or masks[b, r, i, j]):
                        continue
                    x = j * (width / w)
                    column = math.floor((m[0, 0] * x + m[0, 2] + m[0, 1] * y) * (w / width) + half)
                    row = math.floor((m[1, 0] * x + m[1, 2] + m[1, 1] * y) * (h / height) + half)
                    if not (0 <= column < w and 0 <= row < h):
                        continue
                    if mask_first and not masks[b, r, np.int64(row), np.int64(column)]:
                        continue
                    pixel, source = (b * h + i) * w + j, (b * h + np.int64(row)) * w + np.int64(column)
                    if count[pixel] == 0:
                        first[pixel] = source
                    else:
                        pixels[further], sources[further], ranks[further] = pixel, source, count[pixel]
                        further += 1
                    count[pixel] += 1
    return further


@numba.njit(nogil=True, cache=True)
def _clipped(value: float, size: int) -> int:
    return math.floor(min(max(value, 0.0), float(size)))
