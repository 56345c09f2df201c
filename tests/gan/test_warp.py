import math

import numpy as np
import pytest
import torch

from augment.gan import warp
from augment.gan.kernels import gather
from augment.gan.regions import deformation

IMAGE = (24, 12)
LEVELS = [(24, 12), (12, 6), (6, 3), (8, 12), (24, 4)]  # the last two: other scales for rows than for columns


def random_poses(seed, batch=3, image=IMAGE):
    generator = torch.Generator().manual_seed(seed)
    joints = torch.rand(batch, 18, 2, generator=generator, dtype=torch.float64)
    joints = joints * torch.tensor([image[1], image[0]], dtype=torch.float64)
    joints[0, 4] = math.nan
    return joints


def brute_force(features, matrices, masks, valid, image, masks_of_source):
    """Eq. 3 and 4, pixel by pixel."""
    f, m = features.numpy(), matrices.numpy()
    (batch, channels, h, w), regions = f.shape, m.shape[1]
    sy, sx = image[0] / h, image[1] / w
    out = np.full((batch, channels, h, w), -np.inf)
    for b in range(batch):
        for r in range(regions):
            square = np.eye(3)
            square[:2] = m[b, r]
            back = np.linalg.inv(square)
            for i in range(h):
                for j in range(w):
                    value = np.zeros(channels)
                    x, y, _ = back @ [j * sx, i * sy, 1]
                    column, row = math.floor(x / sx + 0.501), math.floor(y / sy + 0.501)
                    if valid[b, r] and 0 <= row < h and 0 <= column < w:
                        at = (row, column) if masks_of_source else (i, j)
                        if masks[b, r, math.floor(at[0] * sy), math.floor(at[1] * sx)]:
                            value = f[b, :, row, column]
                    out[b, :, i, j] = np.maximum(out[b, :, i, j], value)
    return torch.from_numpy(out)


@pytest.mark.parametrize("fidelity", ["released", "paper"])
@pytest.mark.parametrize("size", LEVELS)
def test_equals_a_brute_force_warp(fidelity, size):
    matrices, masks, valid = deformation(random_poses(1), random_poses(2), IMAGE, fidelity=fidelity)
    features = torch.randn(3, 4, *size, dtype=torch.float64)
    expected = brute_force(features, matrices, masks, valid, IMAGE, fidelity == "paper")
    for form in (warp.deform, warp.deform_by_equations):
        torch.testing.assert_close(form(features, matrices, masks, valid, IMAGE, fidelity=fidelity), expected)


@pytest.mark.parametrize("fidelity", ["released", "paper"])
@pytest.mark.parametrize("size", LEVELS)
def test_the_fast_form_has_the_gradient_of_the_equations(fidelity, size):
    matrices, masks, valid = deformation(random_poses(8), random_poses(9), IMAGE, fidelity=fidelity)
    features = torch.randn(3, 4, *size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 4, *size, dtype=torch.float64)
    gradients = []
    for form in (warp.deform, warp.deform_by_equations):
        out = form(features, matrices, masks, valid, IMAGE, fidelity=fidelity)
        gradients += torch.autograd.grad((out * weights).sum(), features)
    torch.testing.assert_close(*gradients)


def dense_plan(matrices, masks, valid, size, fidelity):
    sampling, good = gather._inverse_affine(matrices)
    return {size: gather._dense_level(sampling, masks, valid & good, IMAGE, size, fidelity == "paper", len(masks))}


@pytest.mark.parametrize("fidelity", ["released", "paper"])
@pytest.mark.parametrize("size", LEVELS[:2])
def test_the_fixed_shape_plan_for_devices_agrees_in_value_and_gradient(fidelity, size):
    matrices, masks, valid = deformation(random_poses(3), random_poses(4), IMAGE, fidelity=fidelity)
    features = torch.randn(3, 5, *size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 5, *size, dtype=torch.float64)
    results = []
    for plan in (
        gather.plan_deformation(matrices, masks, valid, IMAGE, [size], fidelity=fidelity),
        dense_plan(matrices, masks, valid, size, fidelity),
    ):
        out = gather.apply_plan(plan, features)
        results.append((out.detach(), *torch.autograd.grad((out * weights).sum(), features)))
    for result, expected in zip(*results, strict=True):
        torch.testing.assert_close(result, expected)


def test_narrow_gradients_are_summed_in_a_wide_type():
    """512 pixels read one: in bf16 a sum of ones would stop at 256."""
    rows, columns = 32, 16
    table = torch.zeros(rows * columns, 1, dtype=torch.long)
    plan = {(rows, columns): gather.LevelPlan((rows, columns), table=table)}
    features = torch.randn(1, 2, rows, columns, dtype=torch.bfloat16, requires_grad=True)
    (gradient,) = torch.autograd.grad(gather.apply_plan(plan, features).sum(), features)
    assert gradient.dtype == torch.bfloat16
    assert gradient[0, :, 0, 0].tolist() == [512, 512]
    assert not gradient.flatten(2)[..., 1:].any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradient_is_the_numerical_one(layout):
    matrices, masks, valid = deformation(random_poses(5, 2), random_poses(6, 2), IMAGE)
    features = torch.randn(2, 3, 12, 6, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: warp.deform(f, matrices, masks, valid, IMAGE), features, atol=1e-6)


def one_region(matrix, size=(4, 3), mask=True):
    matrices = torch.tensor([[matrix]], dtype=torch.float64)
    return matrices, torch.full((1, 1, *size), mask), torch.ones(1, 1, dtype=torch.bool)


def test_translation_by_hand_and_negative_values_survive_when_every_region_is_there():
    features = -torch.arange(12.0).view(1, 1, 4, 3)
    out = warp.deform(features, *one_region([[1, 0, 1], [0, 1, 2]]), (4, 3))
    expected = torch.zeros(1, 1, 4, 3)
    expected[0, 0, 2:, 1:] = features[0, 0, :2, :2]
    assert torch.equal(out, expected)


def test_a_level_divides_the_translation():
    features = torch.randn(1, 2, 8, 4)
    out = warp.deform(features, *one_region([[1, 0, 4], [0, 1, 8]], (32, 16)), (32, 16))
    expected = torch.zeros_like(features)
    expected[..., 2:, 1:] = features[..., :-2, :-1]
    assert torch.equal(out, expected)


def test_zero_is_a_candidate_where_a_region_is_not():
    matrices, masks, valid = one_region([[1, 0, 0], [0, 1, 0]])
    two = torch.cat([matrices, matrices], 1), torch.cat([masks, ~masks], 1), torch.cat([valid, valid], 1)
    features = torch.randn(1, 3, 4, 3)
    assert torch.equal(warp.deform(features, *two, (4, 3)), features.clamp(min=0))
    both = two[0], torch.cat([masks, masks], 1), two[2]
    assert torch.equal(warp.deform(features, *both, (4, 3)), features)


@pytest.mark.parametrize("matrix", [[[0, 0, 5], [0, 0, 5]], [[1, 1, 0], [1, 1, 0]], [[math.nan] * 3, [0, 1, 0]]])
def test_a_map_without_inverse_moves_nothing(matrix):
    out = warp.deform(torch.ones(1, 2, 4, 3), *one_region(matrix), (4, 3))
    assert torch.equal(out, torch.zeros(1, 2, 4, 3))


def test_nothing_valid_gives_zeros_and_a_zero_gradient():
    features = torch.randn(2, 3, 12, 6, requires_grad=True)
    nowhere = torch.full((2, 18, 2), math.nan)
    out = warp.deform(features, *deformation(nowhere, nowhere, IMAGE), IMAGE)
    (gradient,) = torch.autograd.grad(out.sum(), features)
    assert not out.any() and not gradient.any()


def test_halves_are_rounded_up_whatever_the_rounding_errors():
    features = torch.arange(1.0, 9).view(1, 1, 1, 8)
    for error in (-1e-5, 0.0, 1e-5):
        matrix = [[1, 0, -0.5 + error], [0, 1, 0]]
        out = warp.deform(features, *one_region(matrix, (1, 8)), (1, 8))
        assert out.flatten().tolist() == [2, 3, 4, 5, 6, 7, 8, 0]
