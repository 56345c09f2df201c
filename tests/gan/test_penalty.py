from dataclasses import replace

import pytest
import torch
from tiny_run import SIZE, STANDING, TINY, make_run
from torch import nn

from augment.gan.dataset import Batch, load_pair_data
from augment.gan.fidelity import MODERN, PRESETS
from augment.gan.kernels.layers import HalvingConvolution, SampleNorm, twice_differentiable
from augment.gan.networks import build_discriminator
from augment.gan.penalty import EVERY, gradient_penalty
from augment.gan.trainer import Trainer

CPU = torch.device("cpu")


def batch(count: int = 2) -> Batch:
    random = torch.Generator().manual_seed(0)
    source, target = (torch.rand(count, 3, *SIZE, generator=random, dtype=torch.float64) * 2 - 1 for _ in range(2))
    joints = torch.tensor(STANDING * SIZE[0]).repeat(count, 1, 1)
    return Batch(source, joints, target, joints + 1)


class Linear(nn.Module):
    """Logits w·x and 2 w·x of the image."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(3 * SIZE[0] * SIZE[1], dtype=torch.float64).view(1, 3, *SIZE) / 1000)

    def forward(self, source, source_joints, image, target_joints):
        product = (self.weight * image).sum(dim=(1, 2, 3))
        return torch.stack([product, 2 * product], 1)


def test_of_a_linear_discriminator():
    discriminator = Linear()
    penalty = gradient_penalty(discriminator, batch())
    weight = discriminator.weight.detach()
    assert penalty.item() == pytest.approx(9 * weight.square().sum().item() / 2)  # the slope is 3 w
    penalty.backward()
    torch.testing.assert_close(discriminator.weight.grad, 9 * weight)


def test_its_gradient_is_the_slope_of_its_value():
    """By the difference of two values along a random direction of all weights."""
    discriminator, real = build_discriminator(TINY, SIZE).double(), batch()
    gradient_penalty(discriminator, real).backward()
    weights = [weight for weight in discriminator.parameters() if weight.grad is not None]
    random = torch.Generator().manual_seed(1)
    directions = [torch.randn(weight.shape, generator=random, dtype=torch.float64) for weight in weights]
    expected = sum((way * weight.grad).sum() for way, weight in zip(directions, weights, strict=True))

    def value(step: float) -> float:
        with torch.no_grad():
            for weight, way in zip(weights, directions, strict=True):
                weight += step * way
        found = gradient_penalty(discriminator, real).item()
        with torch.no_grad():
            for weight, way in zip(weights, directions, strict=True):
                weight -= step * way
        return found

    found = (value(1e-6) - value(-1e-6)) / 2e-6
    assert expected.abs() > 1e-6 and found == pytest.approx(expected.item(), rel=1e-4)


def test_layers_that_are_differentiated_twice():
    torch.manual_seed(0)
    norm, convolution = SampleNorm().double(), HalvingConvolution(3, 2, bias=False).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    usual = norm(x)
    with twice_differentiable(norm):
        torch.testing.assert_close(norm(x), usual, rtol=1e-6, atol=1e-6)
        assert torch.autograd.gradgradcheck(norm, x)
    assert torch.equal(norm(x), usual)  # the fast one again
    assert torch.autograd.gradgradcheck(convolution, x)


def test_it_keeps_the_discriminator_flat_where_it_is_real(tmp_path, monkeypatch):
    """Two trainings that differ in nothing else."""
    data = load_pair_data(TINY, *make_run(tmp_path), CPU)
    slopes = {}
    for weight in (0.0, MODERN.gradient_penalty):
        monkeypatch.setitem(PRESETS, "modern", replace(MODERN, gradient_penalty=weight))
        trainer = Trainer(TINY.model_copy(update={"learning_rate": 2e-3}), data, CPU)
        for _ in range(3 * EVERY + 1):
            trainer.step()
        slopes[weight] = gradient_penalty(trainer.discriminator, data.batch(data.train[:8])).item()
    assert slopes[MODERN.gradient_penalty] < slopes[0.0] / 2
