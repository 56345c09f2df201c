"""What the signatures of the equations say of shapes and types holds, for any sizes, and a call that breaks it is seen.

Each function is wrapped here and not by an import hook: torch.compile cannot trace through the checks.
"""

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, jaxtyped

from augment.gan import affine, losses, regions, warp
from augment.gan.fidelity import preset
from augment.pose.heatmaps import render_heatmaps


def checked(function):
    return jaxtyped(function, typechecker=beartype)


def poses(batch, seed, joints=18):
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(batch, joints, 2, generator=random) * 32
    return points.masked_fill(torch.rand(batch, joints, 1, generator=random) < 0.2, torch.nan)


sizes = st.integers(1, 6)


@given(batch=sizes, height=sizes, width=sizes, seed=st.integers(0, 9), fidelity=st.sampled_from(["released", "paper"]))
@settings(max_examples=20)
def test_regions_and_deformation(batch, height, width, seed, fidelity):
    source, target, size = poses(batch, seed), poses(batch, seed + 1), (4 * height, 4 * width)
    checked(regions.body_regions)(source, fidelity=fidelity)
    checked(regions.part_transforms)(source, target, fidelity=fidelity)
    checked(regions.region_masks)(source, size, fidelity=fidelity)
    matrices, masks, valid = checked(regions.deformation)(source, target, size, fidelity=fidelity)
    points = torch.rand(2, batch, 3, 5, 2)
    used = torch.ones(batch, 3, 5, dtype=torch.bool)
    checked(affine.fit_affine)(*points, used, preset(fidelity))
    _, scatter = checked(affine.moments)(points[0], used)
    checked(affine.has_area)(scatter, points[0])
    features = torch.rand(batch, 3, 2 * height, 2 * width)
    checked(warp.deform_by_equations)(features, matrices, masks, valid, size, fidelity=fidelity)
    for form in ("gaussian", "exponential"):
        checked(render_heatmaps)(source, size, form=form)


@given(batch=sizes, channels=sizes, height=sizes, width=sizes)
@settings(max_examples=20)
def test_losses(batch, channels, height, width):
    fake, real = torch.rand(2, batch, channels, height, width)
    checked(losses.nearest_neighbour_loss)(fake, real)
    checked(losses.nearest_distances_by_equation)(fake, real, 3)
    checked(losses.feature_loss)(fake, real)
    checked(losses.discriminator_loss)(fake, real, 1e-7)
    for form in ("non-saturating", "minimax"):
        checked(losses.generator_loss)(fake, form)
    checked(losses.surprisal)(fake)


@pytest.mark.parametrize("call", [
    lambda: checked(regions.part_transforms)(poses(2, 0), poses(3, 0)),
    lambda: checked(regions.body_regions)(poses(2, 0)[0]),
    lambda: checked(losses.feature_loss)(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 5)),
    lambda: checked(render_heatmaps)(poses(1, 0).long(), (8, 8)),
    lambda: checked(warp.deform_by_equations)(
        torch.rand(2, 3, 4, 4), torch.rand(2, 10, 2, 3), torch.ones(2, 10, 8, 8), torch.ones(2, 10).bool(), (8, 8)
    ),
])  # fmt: skip
def test_a_wrong_shape_or_type_is_seen(call):
    with pytest.raises(TypeCheckError):
        call()
