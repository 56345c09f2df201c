"""Structural similarity (Wang et al. 2004), batched, in the variants that are found in published tables.

All share K1 = 0.01, K2 = 0.03 and the mean over the three channels and over all pixels whose window is inside the
image. The first two have Wang's window (Gaussian, sigma 1.5, 11 taps) and population covariance, and differ in the data
range L, which sets the constants C1 = (K1 L)^2 and C2 = (K2 L)^2:

- ``ssim_released``: L = max - min of EACH GENERATED image, as in the authors' released code and the paper's tables.
- ``ssim_255``: L = 255, the standard definition.
- ``ssim_skimage``: scikit-image's defaults: a uniform 7x7 window, sample covariance, L = 255.

The first two equal ``skimage.metrics.structural_similarity(generated, reference, gaussian_weights=True, sigma=1.5,
use_sample_covariance=False, data_range=L, channel_axis=-1)``; skimage filters one channel of one image at a time.

The masked versions (``mask_ssim_released``, ``mask_ssim_255``) are the same function of both images with their
background set to black: L is that of the masked generated image, and all pixels count, so the black background, equal
in both, raises the score. Hence the values of .8 of the released code and later work where SSIM is .3.
"""

from collections.abc import Sequence

import numba
import numpy as np
import torch

SSIM_VARIANTS = ("ssim_released", "ssim_255", "ssim_skimage")

_RADIUS = 5  # int(3.5 sigma + 0.5), skimage's and Wang's 11 taps
_GAUSSIAN = np.exp(-(np.arange(-_RADIUS, _RADIUS + 1) ** 2) / (2 * 1.5**2))
_GAUSSIAN /= _GAUSSIAN.sum()
_BOX = np.full(7, 1 / 7)  # scikit-image's default window
_SAMPLE = 49 / 48  # the covariance of a sample over that of a population, for the box of 49 pixels
_K1, _K2 = 0.01, 0.03


def ssim_scores(
    generated: torch.Tensor, reference: torch.Tensor, variants: Sequence[str] = SSIM_VARIANTS
) -> dict[str, torch.Tensor]:
    """The score of each pair of images, by variant.

    ``generated``, ``reference``: uint8 (B, C, H, W), at least 11 pixels high and wide. Returns variant -> (B,) float64
    on the CPU, where it is computed.
    The range of a constant generated image is taken as 1 grey level, where skimage gives 0 / 0.
    Raises ValueError for other types or shapes.
    """
    if generated.dtype != torch.uint8 or reference.dtype != torch.uint8 or generated.shape != reference.shape:
        raise ValueError(
            f"two uint8 batches of one shape are needed, not {generated.dtype} {tuple(generated.shape)} "
            f"and {reference.dtype} {tuple(reference.shape)}"
        )
    if min(generated.shape[-2:]) < len(_GAUSSIAN):
        raise ValueError(f"images of {tuple(generated.shape[-2:])} pixels are smaller than the window of 11 x 11")
    pairs = [images.cpu().contiguous().numpy() for images in (generated, reference)]
    own_range = np.maximum(1, np.ptp(pairs[0], axis=(1, 2, 3)).astype(np.float64))
    ranges = {"ssim_released": own_range, "ssim_255": np.full(len(own_range), 255.0)}
    scores = {}
    if wanted := [name for name in ranges if name in variants]:
        found = _similarity(*pairs, np.stack([ranges[name] for name in wanted]), _GAUSSIAN, 1.0)
        scores = dict(zip(wanted, found, strict=True))
    if "ssim_skimage" in variants:
        scores["ssim_skimage"] = _similarity(*pairs, ranges["ssim_255"][None], _BOX, _SAMPLE)[0]
    return {name: torch.from_numpy(score) for name, score in scores.items()}


# Sums may be reordered, without which they are not vectorised.
_loops = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})


@_loops
def _similarity(generated, reference, ranges, taps, correction):
    """Mean over windows and channels: (V, B), of uint8 (B, C, H, W) and ``ranges`` (V, B).

    ``taps``: the window's weights along either axis. ``correction`` turns population covariances into the sample's.
    All in float64: variances are small differences of large numbers (E[x^2] - E[x]^2 at 255^2). They enter only as
    their sum, so four maps are filtered, not five; one channel's maps stay in the processor's cache.
    """
    batch, channels, height, width = generated.shape
    rows, columns = height - len(taps) + 1, width - len(taps) + 1
    scores = np.zeros(ranges.shape)
    maps = np.empty((height, 4 * width))  # x, y, x^2 + y^2 and xy of a row side by side
    down = np.empty(4 * width)
    means = np.empty((4, columns))
    for b in range(batch):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    x, y = np.float64(generated[b, c, i, j]), np.float64(reference[b, c, i, j])
                    maps[i, j], maps[i, width + j] = x, y
                    maps[i, 2 * width + j], maps[i, 3 * width + j] = x * x + y * y, x * y
            for top in range(rows):
                _weigh(maps[top : top + len(taps)], taps, down)
                for m in range(4):
                    _slide(down[m * width : (m + 1) * width], taps, means[m])
                mean_x, mean_y, xx_yy, xy = means
                for v in range(len(ranges)):
                    c1, c2 = (_K1 * ranges[v, b]) ** 2, (_K2 * ranges[v, b]) ** 2
                    total = 0.0
                    for j in range(columns):
                        product = mean_x[j] * mean_y[j]
                        squares = mean_x[j] * mean_x[j] + mean_y[j] * mean_y[j]
                        covariance = 2 * correction * (xy[j] - product)
                        variances = correction * (xx_yy[j] - squares)
                        total += (2 * product + c1) * (covariance + c2) / ((squares + c1) * (variances + c2))
                    scores[v, b] += total
    return scores / (channels * rows * columns)


@_loops
def _weigh(rows, taps, out):
    """The weighted sum of ``rows`` (w, n); the window is symmetric."""
    last = len(taps) - 1
    middle = taps[last // 2]
    for j in range(len(out)):
        out[j] = middle * rows[last // 2, j]
    for k in range(last // 2):
        weight = taps[k]
        for j in range(len(out)):
            out[j] += weight * (rows[k, j] + rows[last - k, j])


@_loops
def _slide(row, taps, out):
    """The weighted sum of each window in ``row``."""
    last = len(taps) - 1
    middle = taps[last // 2]
    for j in range(len(out)):
        out[j] = middle * row[j + last // 2]
    for k in range(last // 2):
        weight = taps[k]
        for j in range(len(out)):
            out[j] += weight * (row[j + k] + row[j + last - k])
