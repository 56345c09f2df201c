import math

import pytest
import torch

from augment.pose.heatmaps import render_heatmaps


@pytest.mark.parametrize("form", ["gaussian", "exponential"])
def test_equals_the_formula_pixel_by_pixel(form):
    joints = torch.full((2, 18, 2), torch.nan, dtype=torch.float64)
    joints[0, 3] = torch.tensor([5.0, 11.0])
    joints[1, 17] = torch.tensor([-2.5, 7.25])  # outside the image
    maps = render_heatmaps(joints, (16, 9), sigma=2.0, form=form)
    assert maps.shape == (2, 18, 16, 9)
    for sample, joint in ((0, 3), (1, 17)):
        x, y = joints[sample, joint].tolist()
        for row in range(16):
            for column in range(9):
                distance = math.hypot(column - x, row - y)
                expected = math.exp(-(distance**2) / 8) if form == "gaussian" else math.exp(-distance / 4)
                assert maps[sample, joint, row, column] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("form", ["gaussian", "exponential"])
def test_a_missing_joint_is_a_map_of_zeros(form):
    joints = torch.zeros(1, 18, 2)
    joints[0, 4, 1] = torch.nan  # half missing is missing
    maps = render_heatmaps(joints, (8, 8), form=form)
    assert (maps[0, 4] == 0).all()
    assert (maps[0, [0, 5, 17], 0, 0] == 1).all()
    assert torch.isfinite(maps).all()


def test_default_is_the_released_code_with_sigma_six():
    maps = render_heatmaps(torch.zeros(1, 18, 2), (128, 64))
    assert maps[0, 0, 0, 6].item() == pytest.approx(math.exp(-0.5))


def test_gradient_reaches_the_joints_and_is_finite_where_one_is_missing():
    joints = torch.rand(2, 18, 2) * 8
    joints[0, 0] = torch.nan
    joints.requires_grad_()
    render_heatmaps(joints, (8, 8)).sum().backward()
    assert torch.isfinite(joints.grad).all()


def test_unknown_form():
    with pytest.raises(ValueError, match="'gaussian' or 'exponential', not 'box'"):
        render_heatmaps(torch.zeros(1, 18, 2), (8, 8), form="box")
