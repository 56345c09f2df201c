"""Maps as rows of channels, one for each pixel: what gathering, scattering and sums over a pixel work on."""

from torch import Tensor


def pixel_rows(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B·H·W, C): a view of a channels-last map, else a copy."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def as_map(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of :func:`pixel_rows`: a channels-last map of the shape of ``like``; any shape of as many values."""
    batch, channels, height, width = like.shape
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)
