import math

import numpy as np
import pytest
import torch

from augment.base.errors import UsageError
from augment.gan.kernels import nearest
from augment.gan.losses import (
    discriminator_loss,
    feature_loss,
    generator_loss,
    nearest_distances_by_equation,
    nearest_neighbour_loss,
)

LAYOUTS = [torch.contiguous_format, torch.channels_last]
SHAPES = [(2, 3, 6, 5), (1, 4, 2, 1), (1, 2, 1, 7), (3, 1, 1, 1)]  # also images smaller than the window


def eq_8(fake, real, n):
    """The sum over pixels of the smallest L1 norm, for each image: the equation read aloud."""
    fake, real = fake.detach().numpy(), real.detach().numpy()
    batch, _, height, width = fake.shape
    sums = np.zeros(batch)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                near = [
                    np.abs(fake[b, :, y, x] - real[b, :, v, u]).sum()
                    for v in range(max(0, y - n // 2), min(height, y + n // 2 + 1))
                    for u in range(max(0, x - n // 2), min(width, x + n // 2 + 1))
                ]
                sums[b] += min(near)
    return sums


def maps(shape, layout=torch.contiguous_format, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pair = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return [maps.contiguous(memory_format=layout).requires_grad_() for maps in pair]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 3, 5])
def test_equals_eq_8(n, shape, layout):
    fake, real = maps(shape, layout)
    sums = eq_8(fake, real, n)
    pixels = shape[2] * shape[3]
    assert nearest_neighbour_loss(fake, real, n, "sum").item() == pytest.approx(sums.mean(), abs=1e-9)
    assert nearest_neighbour_loss(fake, real, n).item() == pytest.approx(sums.mean() / pixels, abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 3, 5])
def test_the_fast_form_has_value_and_gradient_of_the_equation(n, shape):
    fake, real = maps(shape)
    results = []
    for form in (nearest.nearest_distances, nearest_distances_by_equation):
        distances = form(fake, real, n)
        results.append((distances.detach(), *torch.autograd.grad(distances.square().sum(), (fake, real))))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain)
    np.testing.assert_allclose(results[1][0].sum((1, 2)), eq_8(fake, real, n))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n", [1, 3, 5])
def test_gradient_is_the_numerical_one(n, layout):
    fake, real = maps((2, 3, 5, 4), layout)
    for reduction in ("mean", "sum"):
        assert torch.autograd.gradcheck(lambda a, b: nearest_neighbour_loss(a, b, n, reduction), (fake, real))  # noqa: B023


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("band", [1, 2, 4])
@pytest.mark.parametrize("n", [3, 5])
def test_bands_and_threads_change_nothing(n, band, layout, monkeypatch):
    fake, real = maps((2, 3, 7, 5), layout)
    whole = nearest_neighbour_loss(fake, real, n, "sum")
    gradients = torch.autograd.grad(whole, (fake, real))
    monkeypatch.setattr(nearest, "_BAND", band)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    again = nearest_neighbour_loss(fake, real, n, "sum")
    assert again.item() == pytest.approx(eq_8(fake, real, n).mean(), abs=1e-9)
    for repeated, gradient in zip(torch.autograd.grad(again, (fake, real)), gradients, strict=True):
        assert torch.equal(repeated, gradient)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_search_for_devices_agrees(n, monkeypatch):
    fake, real = maps((2, 3, 6, 5))
    loss = nearest_neighbour_loss(fake, real, n)
    gradients = torch.autograd.grad(loss, (fake, real))
    monkeypatch.setattr(nearest, "_search_loops", nearest._search_maps)
    monkeypatch.setattr(nearest, "_slope_loops", nearest._slope_maps)
    again = nearest_neighbour_loss(fake, real, n)
    torch.testing.assert_close(again, loss)
    torch.testing.assert_close(torch.autograd.grad(again, (fake, real)), gradients)


def test_one_pixel_neighbourhood_is_the_l1_feature_loss():
    fake, real = maps((2, 3, 6, 5))
    expected = (fake - real).abs().sum(1).mean()
    torch.testing.assert_close(nearest_neighbour_loss(fake, real, 1), expected)
    torch.testing.assert_close(feature_loss(fake, real), expected / 3)


def test_a_shift_within_the_window_costs_only_the_border():
    real = torch.rand(1, 2, 8, 8)
    fake = torch.roll(real, 1, dims=3)
    inner = (fake - real)[..., 1:]
    assert inner.abs().sum() > 0
    assert nearest_neighbour_loss(fake[..., 1:], real[..., 1:], 3, "sum") < nearest_neighbour_loss(fake, real, 1, "sum")
    distances = nearest.nearest_distances(fake, real, 3)
    assert not distances[..., 1:].any()
    assert distances[..., 0].all()


def test_equal_features_cost_nothing_and_pull_nowhere():
    fake = torch.zeros(1, 2, 4, 4, requires_grad=True)
    loss = nearest_neighbour_loss(fake, torch.zeros(1, 2, 4, 4))
    (gradient,) = torch.autograd.grad(loss, fake)
    assert loss == 0 and not gradient.any()


def test_nan_is_not_hidden():
    fake, real = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    fake[0, 0, 1, 1] = math.nan
    assert nearest_neighbour_loss(fake, real).isnan()


def test_half_precision_maps_are_summed_in_single():
    fake, real = (x.detach().float() for x in maps((1, 64, 6, 5)))
    loss = nearest_neighbour_loss(fake.bfloat16(), real.bfloat16())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(nearest_neighbour_loss(fake, real).item(), rel=1e-2)


def test_wrong_calls_are_named():
    with pytest.raises(UsageError, match=r"gan\.neighbourhood is 4: it must be odd"):
        nearest_neighbour_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), 4)
    with pytest.raises(UsageError, match="shapes differ"):
        nearest_neighbour_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))


def test_adversarial_losses_from_probabilities():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    p, q = torch.sigmoid(real), torch.sigmoid(fake)
    torch.testing.assert_close(discriminator_loss(real, fake), -p.log().mean() - (1 - q).log().mean())
    torch.testing.assert_close(generator_loss(fake), -q.log().mean())
    torch.testing.assert_close(generator_loss(fake, "minimax"), (1 - q).log().mean())
    expected = -(p + 0.01).log().mean() - (1 - q + 0.01).log().mean()
    torch.testing.assert_close(discriminator_loss(real, fake, 0.01), expected)
    torch.testing.assert_close(generator_loss(fake, offset=0.01), -(q + 0.01).log().mean())


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_adversarial_losses_are_finite_for_a_sure_discriminator(logit):
    logits = torch.full((2, 1, 3, 1), logit, requires_grad=True)
    exact = (discriminator_loss(logits, logits), generator_loss(logits), generator_loss(logits, "minimax"))
    saturated = generator_loss(logits, offset=1e-7)
    assert saturated.item() == pytest.approx(-math.log(1e-7 + (logit > 0)), rel=1e-6, abs=2e-7)
    for loss in (*exact, saturated):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite() and gradient.isfinite().all()
