"""Structural similarity (Wang et al. 2004), batched, in the variants that published tables used without saying so.

All share the window (Gaussian, sigma 1.5, 11 taps), the population covariance, K1 = 0.01, K2 = 0.03, the mean over
the three channels and over all pixels whose window lies inside the image. They differ in the data range L, which sets
the constants C1 = (K1 L)^2 and C2 = (K2 L)^2:

- ``ssim_released``: L = max - min of EACH GENERATED image, as the authors' released code did. Tables of the paper.
- ``ssim_255``: L = 255, the textbook's.

Both equal ``skimage.metrics.structural_similarity(generated, reference, gaussian_weights=True, sigma=1.5,
use_sample_covariance=False, data_range=L, channel_axis=-1)``; skimage filters one channel of one image at a time.

The masked versions (``mask_ssim_released``, ``mask_ssim_255``) are the same function of both images after their
background was set to black: L is then that of the masked generated image, and all pixels count, so the black surround
on which both agree lifts the score. This is how the released code and its followers got .8 where SSIM is .3.
"""

from functools import cache

import torch

SSIM_VARIANTS = ("ssim_released", "ssim_255")

_SIGMA = 1.5
_RADIUS = 5  # int(3.5 sigma + 0.5), skimage's and Wang's 11 taps
_K1, _K2 = 0.01, 0.03


def ssim_scores(generated: torch.Tensor, reference: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every variant's score of each pair of images.

    ``generated``, ``reference``: uint8 (B, C, H, W), at least 11 pixels high and wide. Returns variant -> (B,) float64.
    A constant generated image has no range of its own; it is taken as 1 grey level, where skimage gives 0 / 0.
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
    mean_x, mean_y, xx_yy, xy = _window_means(torch.stack((x, y, x * x + y * y, x * y)))
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance, variances = xy - product, xx_yy - squares
    scores = {}
    for name, data_range in (("ssim_released", own_range), ("ssim_255", torch.full_like(own_range, 255.0))):
        c1, c2 = ((k * data_range[:, None, None, None]) ** 2 for k in (_K1, _K2))
        similarity = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
        scores[name] = similarity.flatten(1).mean(dim=1)
    return scores


def _window_means(maps: torch.Tensor) -> torch.Tensor:
    """Gaussian-weighted means (..., H, W) -> (..., H - 10, W - 10), of windows that lie inside the image.

    A separable filter as two products with banded matrices: the fastest form of an 11-tap filter in float64, for
    which convolutions have no tuned kernel.
    """
    height, width = maps.shape[-2:]
    down = _filter_matrix(height, maps.device)
    across = _filter_matrix(width, maps.device)
    return down @ (maps @ across.T)


@cache
def _filter_matrix(length: int, device: torch.device) -> torch.Tensor:
    """(length - 10, length): row i holds the window's weights from column i on."""
    taps = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-(taps**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    matrix = torch.zeros(length - 2 * _RADIUS, length, dtype=torch.float64)
    for row in range(len(matrix)):
        matrix[row, row : row + 2 * _RADIUS + 1] = weights
    return matrix.to(device)
