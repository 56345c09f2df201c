"""The search inside the nearest-neighbour loss (App. A), without the n² maps that it is usually written with.

The forward pass keeps the best distance so far and its offset; the backward pass looks at the chosen offset alone.
Memory beyond inputs and outputs does not grow with n. On a CPU both passes are loops that numba compiles: a pixel's
window is in the cache, so every map is read from memory once.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from augment.gan.kernels.rows import as_map, pixel_rows

_BAND = 32  # rows of an image per thread


def nearest_distances(fake: Tensor, real: Tensor, neighbourhood: int) -> Tensor:
    """min over q in N(p) of ||fake(p) - real(q)||_1, for every pixel p: (B, C, H, W) twice -> (B, H, W)."""
    return _Nearest.apply(fake, real, neighbourhood)


class _Nearest(torch.autograd.Function):
    @staticmethod
    def forward(ctx, fake: Tensor, real: Tensor, neighbourhood: int) -> Tensor:
        # numpy has no bfloat16, and halves are summed in fp32
        ctx.loops = fake.device.type == "cpu" and fake.dtype.itemsize >= 4
        distance, step = (_search_loops if ctx.loops else _search_maps)(fake, real, neighbourhood // 2)
        ctx.save_for_backward(fake, real, step)
        return distance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        fake, real, step = ctx.saved_tensors
        slope = (_slope_loops if ctx.loops else _slope_maps)(fake, real, step, gradient)
        other = None
        if ctx.needs_input_grad[1]:
            rows = torch.zeros_like(pixel_rows(real)).index_add_(0, _chosen(step), pixel_rows(slope), alpha=-1)
            other = as_map(rows, real)
        return slope, other, None


def _search_maps(fake: Tensor, real: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Smallest distance (B, H, W), fp32 or wider, and the step from a pixel's number to that of its nearest."""
    batch, channels, height, width = fake.shape
    mine, theirs = (pixel_rows(x).view(batch, height, width, channels) for x in (fake, real))
    padded = functional.pad(theirs, (0, 0, radius, radius, radius, radius), value=torch.inf)
    wide = torch.promote_types(mine.dtype, torch.float32)
    best = mine.new_full((batch, height, width), torch.inf, dtype=wide)
    step = torch.zeros(best.shape, dtype=torch.long, device=mine.device)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            shifted = padded[:, radius + dy : radius + dy + height, radius + dx : radius + dx + width]
            distance = (mine - shifted).abs().sum(-1, dtype=wide)
            step = torch.where(distance < best, dy * width + dx, step)
            best = torch.minimum(best, distance)
    return best, step


def _slope_maps(fake: Tensor, real: Tensor, step: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with respect to ``fake``: the sign of its difference from the pixel that was chosen."""
    slope = pixel_rows(real).index_select(0, _chosen(step))
    torch.sub(pixel_rows(fake), slope, out=slope).sign_().mul_(gradient.reshape(-1, 1))
    return as_map(slope, fake)


def _chosen(step: Tensor) -> Tensor:
    """The number, in the whole batch, of the pixel that each pixel chose."""
    return step.flatten() + torch.arange(step.numel(), device=step.device)


def _search_loops(fake: Tensor, real: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """As :func:`_search_maps`, on a CPU."""
    batch, _, height, width = fake.shape
    best, step = fake.new_empty(batch, height, width), torch.empty(batch, height, width, dtype=torch.long)
    mine, theirs = (x.detach().permute(0, 2, 3, 1).numpy() for x in (fake, real))
    smallest, where = best.numpy(), step.numpy()

    def search(image: int, top: int, bottom: int) -> None:
        above, below = max(0, top - radius), min(height, bottom + radius)
        _search(_channels_last(mine[image, top:bottom]), _channels_last(theirs[image, above:below]), top - above,
                radius, smallest[image, top:bottom], where[image, top:bottom])  # fmt: skip

    _in_bands(search, batch, height, _BAND)
    return best, step


def _slope_loops(fake: Tensor, real: Tensor, step: Tensor, gradient: Tensor) -> Tensor:
    """As :func:`_slope_maps`, on a CPU."""
    by_planes = fake.is_contiguous() and real.is_contiguous()
    if by_planes:
        mine, theirs, out = fake.flatten(2), real.flatten(2), torch.empty_like(fake).flatten(2)
    else:
        mine, theirs = (pixel_rows(x).unflatten(0, (len(fake), -1)) for x in (fake, real))
        out = torch.empty_like(mine)
    arrays = [x.detach().numpy() for x in (mine, theirs, step.flatten(1), gradient.flatten(1), out)]
    work = _slope_of_planes if by_planes else _slope_of_rows
    _in_bands(lambda *band: work(*band, *arrays), len(fake), step[0].numel(), _BAND * step.shape[2])
    return out.view_as(fake) if by_planes else as_map(out.flatten(0, 1), fake)


def _in_bands(work: Callable[[int, int, int], None], batch: int, count: int, size: int) -> None:
    """Call ``work(image, first, after the last)`` for every ``size`` of each image's ``count``, on torch's threads.

    The compiled loops release the GIL. Numba's own threads are not used: they do not survive a fork.
    """
    bands = [(image, first, min(first + size, count)) for image in range(batch) for first in range(0, count, size)]
    threads = min(torch.get_num_threads(), len(bands))
    if threads == 1:
        for band in bands:
            work(*band)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *band) for band in bands]:
            done.result()


def _channels_last(pixels: np.ndarray) -> np.ndarray:
    """Pixels (h, w, C), channels contiguous in memory; copied where they are stored plane by plane."""
    return pixels if pixels.flags.c_contiguous else _transpose(pixels)


# Sums may be reordered, without which they are not vectorised; NaN stays NaN.
_loops = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})


@_loops
def _search(mine, theirs, above, radius, best, step):  # row y of ``mine`` is at row y + above of ``theirs``
    rows, width, channels = mine.shape
    for y in range(rows):
        for x in range(width):
            pixel = mine[y, x]
            smallest, where = mine.dtype.type(np.inf), 0
            for v in range(max(0, y + above - radius), min(len(theirs), y + above + radius + 1)):
                for u in range(max(0, x - radius), min(width, x + radius + 1)):
                    other = theirs[v, u]
                    distance = mine.dtype.type(0)
                    for c in range(channels):
                        distance += abs(pixel[c] - other[c])
                    if distance < smallest or distance != distance:  # once NaN, always NaN
                        smallest, where = distance, (v - above - y) * width + u - x
            best[y, x], step[y, x] = smallest, where


@_loops
def _transpose(pixels):
    rows, width, channels = pixels.shape
    result = np.empty(pixels.shape, pixels.dtype)
    for y in range(rows):
        for c in range(channels):
            for x in range(width):
                result[y, x, c] = pixels[y, x, c]
    return result


@_loops
def _slope_of_rows(image, first, last, mine, theirs, step, gradient, out):
    for p in range(first, last):
        pixel, other, to = mine[image, p], theirs[image, p + step[image, p]], out[image, p]
        for c in range(len(pixel)):
            difference = pixel[c] - other[c]
            to[c] = gradient[image, p] * (np.float32(difference > 0) - np.float32(difference < 0))


@_loops
def _slope_of_planes(image, first, last, mine, theirs, step, gradient, out):
    for c in range(mine.shape[1]):
        plane, other, to = mine[image, c], theirs[image, c], out[image, c]
        for p in range(first, last):
            difference = plane[p] - other[p + step[image, p]]
            to[p] = gradient[image, p] * (np.float32(difference > 0) - np.float32(difference < 0))
