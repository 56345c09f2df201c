"""What the least squares of Eq. 2 (``gan/affine.py``) need on a whole batch: 2x2 matrices in closed form.

Solvers of a library would synchronise with the device and raise.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FLATTEST = 1e-6  # smallest det / trace² of a scatter matrix: points spread 1,000 times as far one way are collinear


def moments(
    points: Float[Tensor, "*shape K 2"], used: Bool[Tensor, "*shape K"]
) -> tuple[Float[Tensor, "*shape 2"], Float[Tensor, "*shape 2 2"]]:
    """Mean and scatter matrix of the points that are used."""
    mean = (points * used[..., None]).sum(-2) / used.sum(-1, keepdim=True).clamp_min(1)
    offset = (points - mean[..., None, :]) * used[..., None]
    return mean, offset.transpose(-1, -2) @ offset


def has_area(
    scatter: Float[Tensor, "*shape 2 2"], points: Float[Tensor, "*shape K 2"]
) -> Bool[Tensor, "*shape"]:
    """Whether points are not collinear, relative to their spread, and their spread exceeds rounding errors."""
    spread = trace(scatter)
    rounding = (1e-9 * points.abs().amax((-1, -2))).square()
    return (determinant(scatter) > FLATTEST * spread.square()) & (spread > rounding) & spread.isfinite()


def homogeneous_residual(
    start: Float[Tensor, "*shape 2 2"], end: Float[Tensor, "*shape 2 2"], cross: Float[Tensor, "*shape 2 2"]
) -> Float[Tensor, "*shape 2 2"]:
    """The homogeneous fit's correction of the scatter matrix of the points fitted from, a multiple of the identity.

    As in skimage: A h = 0 is solved for the unit vector h of six coefficients and their common divisor, with points
    shifted to their means and scaled to scatter matrices of trace 2 (S of those fitted from, K the cross scatter). The
    shift drops out; the eigenvector of AᵀA to its smallest eigenvalue λ has the linear part Kᵀ (S - λ)⁻¹, and λ is the
    smallest of three real roots: (2 - λ) det(S - λ) = tr(Kᵀ adj(S - λ) K). ``start``, ``end``: scatter matrices
    (..., 2, 2); ``cross``: start times end.
    """
    scale, other = trace(start) / 2, trace(end) / 2
    start, cross = start / scale[..., None, None], cross / (scale * other).sqrt()[..., None, None]
    adjugate = 2 * torch.eye(2, dtype=start.dtype, device=start.device) - start
    # λ³ - 4 λ² + slope λ + constant = 0, solved with cosines
    slope = 4 + determinant(start) - cross.square().sum((-1, -2))
    constant = (cross * (adjugate @ cross)).sum((-1, -2)) - 2 * determinant(start)
    radius = ((16 / 3 - slope) / 3).clamp_min(0).sqrt()
    cosine = (64 / 27 - 2 * slope / 3 - constant / 2) / radius.pow(3)
    root = 4 / 3 + 2 * radius * ((cosine.clamp(-1, 1).acos() + 2 * torch.pi) / 3).cos()
    return torch.diag_embed((root.clamp_min(0) * scale)[..., None].expand(*scale.shape, 2))


def determinant(m: Float[Tensor, "*shape 2 2"]) -> Float[Tensor, "*shape"]:
    """Of each 2x2 matrix."""
    return m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]


def trace(m: Float[Tensor, "*shape 2 2"]) -> Float[Tensor, "*shape"]:
    """Of each 2x2 matrix."""
    return m[..., 0, 0] + m[..., 1, 1]


def inverse(m: Float[Tensor, "*shape 2 2"]) -> Float[Tensor, "*shape 2 2"]:
    """Of each 2x2 matrix; infinite where singular."""
    (a, b), (c, d) = (row.unbind(-1) for row in m.unbind(-2))
    adjugate = torch.stack((d, -b, -c, a), dim=-1).unflatten(-1, (2, 2))
    return adjugate / determinant(m)[..., None, None]
