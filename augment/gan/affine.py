"""The affine map of Eq. 2: least squares between points, in closed form on a whole batch.

Solvers of a library would synchronise with the device and raise. A valid map is finite.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from augment.gan.fidelity import Fidelity

FLATTEST = 1e-6  # smallest det / trace² of a scatter matrix: points spread 1,000 times as far one way are collinear


def fit_affine(
    p: Float[Tensor, "B R K 2"], q: Float[Tensor, "B R K 2"], weights: Float[Tensor, "B R K"], fidelity: Fidelity
) -> tuple[Float[Tensor, "B R 2 3"], Bool[Tensor, "B R"]]:
    """The maps p -> q, least squares over weighted points, and which are valid.

    In coordinates relative to the weighted means the normal equations are 2x2. With C = Σ dq dpᵀ, Eq. 2 gives the
    linear part C (Σ dp dpᵀ)⁻¹; the inverse of the fit in the other direction is (Σ dq dqᵀ) C⁻ᵀ. The homogeneous fit
    subtracts its residual from the scatter matrix of the points fitted from.
    """
    p_mean, p_scatter = moments(p, weights)
    q_mean, q_scatter = moments(q, weights)
    cross = ((q - q_mean[..., None, :]) * weights[..., None]).transpose(-1, -2) @ (p - p_mean[..., None, :])
    forward = fidelity.fit == "source-to-target"
    start, end, start_to_end = (p_scatter, q_scatter, cross.mT) if forward else (q_scatter, p_scatter, cross)
    if fidelity.homogeneous_fit:
        start = start - _homogeneous_residual(start, end, start_to_end)
    linear = cross @ _inverse(start) if forward else start @ _inverse(cross.mT)
    shift = q_mean[..., None] - linear @ p_mean[..., None]
    size = _trace(p_scatter) * _trace(q_scatter)
    valid = has_area(p_scatter, p) & has_area(q_scatter, q) & (_det(cross).abs() > FLATTEST * size)
    maps = torch.cat((linear, shift), dim=-1)
    return maps, valid & maps.isfinite().flatten(2).all(2)


def _homogeneous_residual(start: Tensor, end: Tensor, cross: Tensor) -> Tensor:
    """The homogeneous fit's correction of the scatter matrix of the points fitted from, a multiple of the identity.

    As in skimage: A h = 0 is solved for the unit vector h of six coefficients and their common divisor, with points
    shifted to their means and scaled to scatter matrices of trace 2 (S of those fitted from, K the cross scatter). The
    shift drops out; the eigenvector of AᵀA to its smallest eigenvalue λ has the linear part Kᵀ (S - λ)⁻¹, and λ is the
    smallest of three real roots: (2 - λ) det(S - λ) = tr(Kᵀ adj(S - λ) K). ``start``, ``end``: scatter matrices
    (..., 2, 2); ``cross``: start times end.
    """
    scale, other = _trace(start) / 2, _trace(end) / 2
    start, cross = start / scale[..., None, None], cross / (scale * other).sqrt()[..., None, None]
    adjugate = 2 * torch.eye(2, dtype=start.dtype, device=start.device) - start
    # λ³ - 4 λ² + slope λ + constant = 0, solved with cosines
    slope = 4 + _det(start) - cross.square().sum((-1, -2))
    constant = (cross * (adjugate @ cross)).sum((-1, -2)) - 2 * _det(start)
    radius = ((16 / 3 - slope) / 3).clamp_min(0).sqrt()
    cosine = (64 / 27 - 2 * slope / 3 - constant / 2) / radius.pow(3)
    root = 4 / 3 + 2 * radius * ((cosine.clamp(-1, 1).acos() + 2 * torch.pi) / 3).cos()
    return torch.diag_embed((root.clamp_min(0) * scale)[..., None].expand(*scale.shape, 2))


def moments(
    points: Float[Tensor, "*shape K 2"], weights: Float[Tensor, "*shape K"]
) -> tuple[Float[Tensor, "*shape 2"], Float[Tensor, "*shape 2 2"]]:
    """Weighted mean and scatter matrix of points."""
    mean = (points * weights[..., None]).sum(-2) / weights.sum(-1, keepdim=True).clamp_min(1)
    offset = (points - mean[..., None, :]) * weights[..., None]
    return mean, offset.transpose(-1, -2) @ offset


def has_area(
    scatter: Float[Tensor, "*shape 2 2"], points: Float[Tensor, "*shape K 2"]
) -> Bool[Tensor, "*shape"]:
    """Whether points are not collinear, relative to their spread, and their spread exceeds rounding errors."""
    trace = _trace(scatter)
    rounding = (1e-9 * points.abs().amax((-1, -2))).square()
    return (_det(scatter) > FLATTEST * trace.square()) & (trace > rounding) & trace.isfinite()


def _det(m: Tensor) -> Tensor:
    return m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]


def _trace(m: Tensor) -> Tensor:
    return m[..., 0, 0] + m[..., 1, 1]


def _inverse(m: Tensor) -> Tensor:
    """Infinite where singular."""
    (a, b), (c, d) = (row.unbind(-1) for row in m.unbind(-2))
    adjugate = torch.stack((d, -b, -c, a), dim=-1).unflatten(-1, (2, 2))
    return adjugate / _det(m)[..., None, None]
