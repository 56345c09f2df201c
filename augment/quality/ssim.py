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
from functools import cache
from typing import Literal

import torch

SSIM_VARIANTS = ("ssim_released", "ssim_255", "ssim_skimage")

_SIGMA = 1.5
_RADIUS = 5  # int(3.5 sigma + 0.5), skimage's and Wang's 11 taps
_BOX = 7  # pixels, scikit-image's default window
_K1, _K2 = 0.01, 0.03


def ssim_scores(
    generated: torch.Tensor, reference: torch.Tensor, variants: Sequence[str] = SSIM_VARIANTS
) -> dict[str, torch.Tensor]:
    """The score of each pair of images, by variant.

    ``generated``, ``reference``: uint8 (B, C, H, W), at least 11 pixels high and wide. Returns variant -> (B,) float64.
    The range of a constant generated image is taken as 1 grey level, where skimage gives 0 / 0.
    Raises ValueError for other types or shapes.
    """
    if generated.dtype != torch.uint8 or reference.dtype != torch.uint8 or generated.shape != reference.shape:
        raise ValueError(
            f"two uint8 batches of one shape are needed, not {generated.dtype} {tuple(generated.shape)} "
            f"and {reference.dtype} {tuple(reference.shape)}"
        )
    if min(generated.shape[-2:]) < 2 * _RADIUS + 1:
        raise ValueError(f"images of {tuple(generated.shape[-2:])} pixels are smaller than the window of 11 x 11")
    low, high = generated.flatten(1).aminmax(dim=1)
    own_range = (high - low).double().clamp(min=1)
    # float64: variances are small differences of large numbers (E[x^2] - E[x]^2 at 255^2).
    x, y = generated.double(), reference.double()
    # The variances enter only as their sum, so four maps are filtered, not five.
    maps = torch.stack((x, y, x * x + y * y, x * y))
    ranges = {"ssim_released": own_range, "ssim_255": torch.full_like(own_range, 255.0)}
    scores = {}
    if wanted := [name for name in ranges if name in variants]:
        means = _window_means(maps, "gaussian")
        scores = {name: _similarity(means, ranges[name], 1.0) for name in wanted}
    if "ssim_skimage" in variants:
        means = _window_means(maps, "box")
        scores["ssim_skimage"] = _similarity(means, ranges["ssim_255"], _BOX**2 / (_BOX**2 - 1))
    return scores


def _similarity(means: torch.Tensor, data_range: torch.Tensor, correction: float) -> torch.Tensor:
    """From window means of x, y, x^2 + y^2 and xy; ``correction`` turns population covariances into the sample's."""
    mean_x, mean_y, xx_yy, xy = means
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance, variances = correction * (xy - product), correction * (xx_yy - squares)
    c1, c2 = ((k * data_range[:, None, None, None]) ** 2 for k in (_K1, _K2))
    similarity = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return similarity.flatten(1).mean(dim=1)


def _window_means(maps: torch.Tensor, window: Literal["gaussian", "box"]) -> torch.Tensor:
    """Weighted means (..., H, W) -> (..., H - w + 1, W - w + 1), of windows of w pixels that lie inside the image.

    A separable filter as two products with banded matrices: the fastest form of such a filter in float64, for
    which convolutions have no tuned kernel.
    """
    height, width = maps.shape[-2:]
    down = _filter_matrix(height, maps.device, window)
    across = _filter_matrix(width, maps.device, window)
    return down @ (maps @ across.T)


@cache
def _filter_matrix(length: int, device: torch.device, window: Literal["gaussian", "box"]) -> torch.Tensor:
    """(length - w + 1, length): row i holds the window's weights from column i on."""
    if window == "box":
        weights = torch.full((_BOX,), 1 / _BOX, dtype=torch.float64)
    else:
        taps = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
        weights = torch.exp(-(taps**2) / (2 * _SIGMA**2))
        weights /= weights.sum()
    matrix = torch.zeros(length - len(weights) + 1, length, dtype=torch.float64)
    for row in range(len(matrix)):
        matrix[row, row : row + len(weights)] = weights
    return matrix.to(device)
