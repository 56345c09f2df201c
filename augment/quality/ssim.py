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
_AT_ONCE = 4  # images on a processor: their maps stay in its cache
_ROWS, _COLUMNS = 8, 18  # of a block of a filter's matrix


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
    at_once = _AT_ONCE if generated.device.type == "cpu" else max(1, len(generated))
    found = [_scores(*pairs, variants)
             for pairs in zip(generated.split(at_once), reference.split(at_once), strict=True)]  # fmt: skip
    return {name: torch.cat([scores[name] for scores in found]) for name in SSIM_VARIANTS if name in variants}


def _scores(generated: torch.Tensor, reference: torch.Tensor, variants: Sequence[str]) -> dict[str, torch.Tensor]:
    low, high = generated.flatten(1).aminmax(dim=1)
    own_range = (high - low).double().clamp(min=1)
    # float64: variances are small differences of large numbers (E[x^2] - E[x]^2 at 255^2). The variances enter only as
    # their sum, so four maps are filtered, not five. Rows come first: a filter down the columns is one matrix product.
    batch, channels, height, width = generated.shape
    maps = own_range.new_empty(height, 4, batch, channels, width)
    x, y, xx_yy, xy = maps.unbind(1)
    x.copy_(generated.permute(2, 0, 1, 3))
    y.copy_(reference.permute(2, 0, 1, 3))
    torch.mul(x, x, out=xx_yy).addcmul_(y, y)
    torch.mul(x, y, out=xy)
    ranges = {"ssim_released": own_range, "ssim_255": torch.full_like(own_range, 255.0)}
    scores = {}
    if wanted := [name for name in ranges if name in variants]:
        terms = _terms(_window_means(maps, "gaussian"), 1.0)
        scores = {name: _similarity(terms, ranges[name]) for name in wanted}
    if "ssim_skimage" in variants:
        terms = _terms(_window_means(maps, "box"), _BOX**2 / (_BOX**2 - 1))
        scores["ssim_skimage"] = _similarity(terms, ranges["ssim_255"])
    return scores


_Terms = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _terms(means: torch.Tensor, correction: float) -> _Terms:
    """2 E[x] E[y], E[x]^2 + E[y]^2, 2 cov and var[x] + var[y] from the window means (H, 4, B, C, W) of the maps.

    ``correction`` turns population covariances into the sample's.
    """
    mean_x, mean_y, xx_yy, xy = means.unbind(1)
    product, squares = mean_x * mean_y, torch.addcmul(mean_x * mean_x, mean_y, mean_y)
    covariance, variances = (xy - product).mul_(2 * correction), (xx_yy - squares).mul_(correction)
    return product.mul_(2), squares, covariance, variances


def _similarity(terms: _Terms, data_range: torch.Tensor) -> torch.Tensor:
    """Mean over windows and channels, (B,); terms are (H, B, C, W), ``data_range`` (B,)."""
    product, squares, covariance, variances = terms
    c1, c2 = ((k * data_range[:, None, None]) ** 2 for k in (_K1, _K2))
    similarity = ((product + c1).mul_(covariance + c2)).div_((squares + c1).mul_(variances + c2))
    return similarity.mean(dim=(0, 2, 3))


def _window_means(maps: torch.Tensor, window: Literal["gaussian", "box"]) -> torch.Tensor:
    """Weighted means (H, ..., W) -> (H - w + 1, ..., W - w + 1), of windows of w pixels that lie inside the image.

    A separable filter as products with banded matrices, of which only blocks along the diagonal are multiplied: the
    fastest form of such a filter in float64, for which convolutions have no tuned kernel.
    """
    height, width = maps.shape[0], maps.shape[-1]
    down = _filter_matrix(height, maps.device, window)
    across = _filter_matrix(width, maps.device, window)
    margin = height - len(down)
    flat = maps.reshape(height, -1)
    rows = flat.new_empty(len(down), flat.shape[1])
    for start in range(0, len(down), _ROWS):
        block = slice(start, start + _ROWS), slice(start, start + _ROWS + margin)
        torch.mm(down[block], flat[block[1]], out=rows[block[0]])
    rows = rows.view(-1, width)
    means = rows.new_empty(len(rows), len(across))
    for start in range(0, len(across), _COLUMNS):
        block = slice(start, start + _COLUMNS), slice(start, start + _COLUMNS + margin)
        torch.mm(rows[:, block[1]], across[block].T, out=means[:, block[0]])
    return means.view(len(down), *maps.shape[1:-1], -1)


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
