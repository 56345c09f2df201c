"""Deformable skip connections (Sec. 3.1, Eq. 3 and 4): feature maps moved part by part from one pose to another.

:func:`deform_by_equations` states them plainly and is what the tests compare with; :func:`deform`, its fast form, and
what networks use of it are in ``kernels/gather.py``.

Coordinates: pixel i of a level of height h is the image's row i·H/h, as in the released code, rows and columns each
with their own scale; hence an affine map keeps its linear part where both scales are equal and its translation is
divided. A coordinate is rounded to the nearest pixel, halves up (:data:`HALF`). Outside the image the value is zero.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from augment.gan.fidelity import Fidelity, preset
from augment.gan.kernels.gather import HALF, deform

__all__ = ["deform", "deform_by_equations"]


def deform_by_equations(
    features: Float[Tensor, "B C h w"], matrices: Float[Tensor, "B R 2 3"], masks: Bool[Tensor, "B R H W"],
    valid: Bool[Tensor, "B R"], image_size: tuple[int, int], *, fidelity: Fidelity | str = "released",
) -> Float[Tensor, "B C h w"]:  # fmt: skip
    """d(F) of Eq. 4; matrices of regions that are not valid must be invertible, as the identity is.

    matrices: source to target pixels at ``image_size`` (H, W). masks: of the target's regions where the preset warps
    first, of the source's where it masks first (Eq. 3).
    """
    (h, w), (height, width) = features.shape[2:], image_size
    y, x = torch.arange(h) * (height / h), torch.arange(w) * (width / w)  # a level's pixels in the image
    masks = masks[:, :, y.long()[:, None], x.long()] & valid[..., None, None]

    # f_h: where each target pixel lies in the source, for every region (Eq. 3)
    target = torch.stack([x.expand(h, w), y[:, None].expand(h, w), torch.ones(h, w)]).double().flatten(1)
    last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(*matrices.shape[:2], 1, 3)
    source = torch.linalg.inv(torch.cat([matrices.double(), last], 2)) @ target
    column, row = ((source[:, :, i] * scale + HALF).floor().long() for i, scale in ((0, w / width), (1, h / height)))
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    pixel = row.clamp(0, h - 1) * w + column.clamp(0, w - 1)

    def move(maps: Tensor) -> Tensor:  # (B, R, C, h, w), each region's by its own map
        at = pixel[:, :, None].expand(-1, -1, maps.shape[2], -1)
        return (maps.flatten(3).gather(3, at) * inside[:, :, None]).view_as(maps)

    every = features[:, None].expand(-1, matrices.shape[1], -1, -1, -1)
    if preset(fidelity).mask_order == "mask-then-warp":
        moved = move(every * masks[:, :, None])
    else:
        moved = move(every) * masks[:, :, None]
    return moved.amax(1)  # Eq. 4
