"""The affine map of Eq. 2: least squares between points, in closed form on a whole batch.

A valid map is finite. What is computed on 2x2 matrices is in ``kernels/least_squares.py``.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from augment.gan.fidelity import Fidelity
from augment.gan.kernels.least_squares import (
    FLATTEST,
    determinant,
    has_area,
    homogeneous_residual,
    inverse,
    moments,
    trace,
)


def fit_affine(
    p: Float[Tensor, "B R K 2"], q: Float[Tensor, "B R K 2"], used: Bool[Tensor, "B R K"], fidelity: Fidelity
) -> tuple[Float[Tensor, "B R 2 3"], Bool[Tensor, "B R"]]:
    """The maps p -> q, least squares over the points that are used, and which are valid.

    In coordinates relative to the means the normal equations are 2x2. With C = Σ dq dpᵀ, Eq. 2 gives the
    linear part C (Σ dp dpᵀ)⁻¹; the inverse of the fit in the other direction is (Σ dq dqᵀ) C⁻ᵀ. The homogeneous fit
    subtracts its residual from the scatter matrix of the points fitted from.
    """
    p_mean, p_scatter = moments(p, used)
    q_mean, q_scatter = moments(q, used)
    cross = ((q - q_mean[..., None, :]) * used[..., None]).transpose(-1, -2) @ (p - p_mean[..., None, :])
    forward = fidelity.fit == "source-to-target"
    start, end, start_to_end = (p_scatter, q_scatter, cross.mT) if forward else (q_scatter, p_scatter, cross)
    if fidelity.homogeneous_fit:
        start = start - homogeneous_residual(start, end, start_to_end)
    linear = cross @ inverse(start) if forward else start @ inverse(cross.mT)
    shift = q_mean[..., None] - linear @ p_mean[..., None]
    size = trace(p_scatter) * trace(q_scatter)
    valid = has_area(p_scatter, p) & has_area(q_scatter, q) & (determinant(cross).abs() > FLATTEST * size)
    maps = torch.cat((linear, shift), dim=-1)
    return maps, valid & maps.isfinite().flatten(2).all(2)
