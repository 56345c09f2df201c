"""What the generator and the discriminator minimise (Sec. 4, App. A)."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from augment.base.errors import UsageError
from augment.gan.kernels.nearest import nearest_distances

Reduction = Literal["mean", "sum"]
Adversarial = Literal["non-saturating", "minimax"]


def nearest_neighbour_loss(
    fake: Float[Tensor, "B C H W"], real: Float[Tensor, "..."], neighbourhood: int = 3, reduction: Reduction = "mean"
) -> Float[Tensor, ""]:
    """Eq. 8 (App. A, Eq. 11 to 15): distance of each pixel's features to the nearest in an n x n window of ``real``.

    fake, real: feature maps Cx of the same shape. A pixel's distance is the L1 norm over channels (a sum, not divided
    by C); pixels beyond the border are infinitely far. ``sum`` is Eq. 8: the sum over pixels, averaged over the batch.
    ``mean`` is the released code's: averaged over pixels too, H·W times less. With n = 1 it is the L1 feature loss.
    Where several offsets are equally near, the gradient goes to the first in row-major order.
    """
    if neighbourhood < 1 or neighbourhood % 2 == 0:
        raise UsageError(f"gan.neighbourhood is {neighbourhood}: it must be odd, for a window has a middle pixel.")
    if fake.shape != real.shape:
        raise UsageError(f"nearest_neighbour_loss: shapes differ, {tuple(fake.shape)} and {tuple(real.shape)}.")
    nearest = nearest_distances(fake, real, neighbourhood)
    return nearest.mean() if reduction == "mean" else nearest.sum() / len(fake)


def nearest_distances_by_equation(
    fake: Float[Tensor, "B C H W"], real: Float[Tensor, "B C H W"], neighbourhood: int
) -> Float[Tensor, "B H W"]:
    """Eq. 7 plainly: min over q in N(p) of ||fake(p) - real(q)||_1.

    The reference of the tests of the fast form, ``kernels/nearest.py``: it stores a map of distances per offset.
    """
    height, width = fake.shape[2:]
    padded = functional.pad(real, [neighbourhood // 2] * 4, value=torch.inf)
    offsets = [(dy, dx) for dy in range(neighbourhood) for dx in range(neighbourhood)]
    shifted = (padded[:, :, dy : dy + height, dx : dx + width] for dy, dx in offsets)
    return torch.stack([(fake - other).abs().sum(1) for other in shifted]).amin(0)


def feature_loss(fake: Float[Tensor, "*shape"], real: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean absolute difference of feature maps, element by element (Sec. 6.3, PercLoss); of images: Eq. 6 (L1)."""
    return functional.l1_loss(fake, real)


def discriminator_loss(
    real_logits: Float[Tensor, "..."], fake_logits: Float[Tensor, "..."], offset: float = 0.0
) -> Float[Tensor, ""]:
    """What D minimises, Eq. 5 negated: -log D(real) - log(1 - D(fake)), each averaged over the map of patches.

    Logits are the discriminator's outputs before its sigmoid; the two may come from different pairs. The released code
    adds an ``offset`` to each probability before its logarithm.
    """
    return surprisal(real_logits, offset).mean() + surprisal(-fake_logits, offset).mean()


def generator_loss(
    fake_logits: Float[Tensor, "..."], form: Adversarial = "non-saturating", offset: float = 0.0
) -> Float[Tensor, ""]:
    """What G minimises: log(1 - D(fake)), Eq. 5, or the released code's -log D(fake), averaged over patches."""
    if form == "minimax":
        return -surprisal(-fake_logits, offset).mean()
    return surprisal(fake_logits, offset).mean()


def surprisal(logits: Float[Tensor, "*shape"], offset: float = 0.0) -> Float[Tensor, "*shape"]:
    """-log(sigmoid(logits) + offset), element by element, without loss of precision where the sigmoid is 0 or 1."""
    exact = functional.logsigmoid(logits)
    return -torch.logaddexp(exact, exact.new_full((), math.log(offset))) if offset else -exact
