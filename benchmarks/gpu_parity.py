"""Parity cells of gpu.py: what a device computes, as relative error ||out - ref|| / ||ref|| against float64 on the CPU.

Inputs are drawn on the CPU, so both sides have the same ones, and rounded to the tested type before the reference sees
them. Errors above their limit, or NaN, are listed in the row's ``missed``.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from unittest import mock

import torch
from deformable_skip import IMAGE, LEVELS
from torch import Tensor

from augment.config import GanConfig
from augment.gan import networks
from augment.gan.dataset import PairData
from augment.gan.kernels.gather import apply_plan, plan_deformation
from augment.gan.losses import nearest_neighbour_loss
from augment.gan.networks import Generator, build_generator
from augment.gan.regions import deformation
from augment.gan.trainer import Trainer

LIMITS = {"fp32": 1e-4, "tf32": 2e-3, "bf16": 3e-2}
# Of a generator's weights: a rounding turns the slope of activations next to zero, so this error grows with the root of
# the rounding. On the CPU it is 1e-6 to 3e-3 in fp32, .11 in bf16, where those of the image are 1e-5 and 1e-2.
SLOPE_LIMITS = {"fp32": 1e-2, "tf32": 0.1, "bf16": 0.2}
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
STEPS = 5  # two more than a graph's warm-up


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether matrix products and convolutions of fp32 may round their factors to TF32."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = allowed
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def cells(device: torch.device, width: float, seed: int, poses: Tensor,
          data: PairData) -> Iterator[tuple[str, Callable[[], dict[str, Any]] | None]]:  # fmt: skip
    """Name and work of each cell; no work where it is for CUDA only. ``poses`` (8 or more, 18, 2)."""
    cuda = device.type == "cuda"
    for kind in ("fp32", "bf16"):
        yield f"skip {kind}", lambda kind=kind: skip(device, kind, poses, seed)
    for n in (3, 5):
        yield f"nn loss n={n}", lambda n=n: nearest(device, n, seed)
    for kind in ("fp32", "tf32", "bf16"):
        work = lambda kind=kind: generator(device, kind, width, seed, poses)  # noqa: E731
        yield f"generator {kind}", work if cuda or kind != "tf32" else None
    yield "generator compiled", (lambda: generator(device, "fp32", width, seed, poses, True)) if cuda else None
    yield "iteration", (lambda: iteration(device, width, seed, data)) if cuda else None


def relative(out: Tensor, reference: Tensor) -> float:
    reference = reference.detach()
    return float((out.detach().double().cpu() - reference).norm() / reference.norm())


def within_limits(errors: dict[str, float], limits: dict[str, float]) -> dict[str, Any]:
    missed = [name for name, limit in limits.items() if not errors[name] <= limit]
    return {"errors": errors, "limits": limits, "missed": missed}


def skip(device: torch.device, kind: str, poses: Tensor, seed: int) -> dict[str, Any]:
    """The four levels; a maximum of copies has no rounding, so values must be equal."""
    random = torch.Generator().manual_seed(seed)
    batch = 4
    geometry = deformation(poses[:batch], poses[batch : 2 * batch], IMAGE)
    sizes = [level[1:] for level in LEVELS]
    expected_plan = plan_deformation(*geometry, IMAGE, sizes)
    plan = plan_deformation(*(tensor.to(device) for tensor in geometry), IMAGE, sizes)
    errors = {"value": 0.0, "gradient": 0.0}
    for level in LEVELS:
        features, weights = (
            torch.randn(batch, *level, generator=random).to(TYPES[kind], memory_format=torch.channels_last)
            for _ in range(2)
        )
        expected = _value_and_gradient(expected_plan, features.double(), weights.double())
        found = _value_and_gradient(plan, features.to(device), weights.to(device))
        for name, result, truth in zip(errors, found, expected, strict=True):
            errors[name] = _larger(errors[name], relative(result, truth))
    return within_limits(errors, {"value": 0.0, "gradient": LIMITS[kind]})


def _value_and_gradient(plan: Any, features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    features.requires_grad_()
    out = apply_plan(plan, features)
    return out, torch.autograd.grad(out, features, weights)[0]


def _larger(a: float, b: float) -> float:
    return a if a > b else b  # NaN, as b, stays


def nearest(device: torch.device, n: int, seed: int) -> dict[str, Any]:
    """fp32, as in a training of any precision.

    Maps are multiples of 1/256: their distances are exact in fp32, so no rounding turns one neighbour into another,
    and the real ties among them must be broken alike.
    """
    random = torch.Generator().manual_seed(seed)
    maps = [torch.randn(4, 64, *IMAGE, generator=random).relu().mul(256).round().div(256) for _ in range(2)]
    maps = [features.contiguous(memory_format=torch.channels_last) for features in maps]

    def both(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        loss = nearest_neighbour_loss(fake.requires_grad_(), real, n)
        return loss, torch.autograd.grad(loss, fake)[0]

    value, gradient = both(*(features.double() for features in maps))
    found, slope = both(*(features.to(device) for features in maps))
    differ = (slope.sign().cpu() != gradient.sign()).double().mean()
    errors = {"value": relative(found, value), "gradient": relative(slope, gradient), "signs": float(differ)}
    return within_limits(errors, {"value": LIMITS["fp32"], "gradient": LIMITS["fp32"], "signs": 0.0})


@lru_cache(maxsize=1)
def _example(width: float, seed: int, poses: Tensor) -> tuple[Generator, list[Any], Tensor, Tensor, Tensor]:
    """A generator, its inputs, weights of the image in a loss; image and gradient of all its weights in float64."""
    random = torch.Generator().manual_seed(seed)
    network = build_generator(GanConfig(width=width, seed=seed))
    source = torch.rand(2, 3, *IMAGE, generator=random) * 2 - 1
    inputs = [source, poses[:2], poses[2:4], network.sample_noise(2, random)]
    weights = torch.randn(2, 3, *IMAGE, generator=random)

    def of_single(source: Tensor, target: Tensor, *others: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor]:
        return deformation(source.float(), target.float(), *others, **named)

    # A matrix that is not rounded to fp32 would move single pixels: not an error to be measured here.
    with mock.patch.object(networks, "deformation", of_single):
        image, gradient = _image_and_gradient(copy.deepcopy(network).double(), _to(inputs, torch.float64), weights)
    return network, inputs, weights, image, gradient


def generator(device: torch.device, kind: str, width: float, seed: int, poses: Tensor,
              compiled: bool = False) -> dict[str, Any]:  # fmt: skip
    """Two images and the gradient of all weights, dropout included."""
    network, inputs, weights, image, gradient = _example(width, seed, poses)
    ours = copy.deepcopy(network).to(device, memory_format=torch.channels_last)
    forward = torch.compile(ours, dynamic=False) if compiled else ours
    with tf32(kind == "tf32"):
        found, slope = _image_and_gradient(forward, _to(inputs, device), weights.to(device), kind == "bf16")
    errors = {"image": relative(found, image), "gradient": relative(slope, gradient)}
    return within_limits(errors, {"image": LIMITS[kind], "gradient": SLOPE_LIMITS[kind]})


def _image_and_gradient(network: Any, inputs: list[Any], weights: Tensor, mixed: bool = False) -> tuple[Tensor, Tensor]:
    with torch.autocast(weights.device.type, torch.bfloat16, enabled=mixed):
        image = network(*inputs)
    gradients = torch.autograd.grad(image, list(network.parameters()), weights.to(image.dtype))
    return image, torch.cat([gradient.flatten() for gradient in gradients])


def _to(inputs: list[Any], where: torch.device | torch.dtype) -> list[Any]:
    return [_to(item, where) if isinstance(item, list) else item.to(where) for item in inputs]


def iteration(device: torch.device, width: float, seed: int, data: PairData) -> dict[str, Any]:
    """Losses of captured iterations beside plain ones; the plain must not wait for the device after the first."""
    found: dict[str, list[float]] = {}
    for mode in (False, "graph"):
        trainer = Trainer(GanConfig(width=width, seed=seed, features="patches", compile=mode), data, device)
        found[str(mode)] = []
        for number in range(STEPS):
            torch.cuda.set_sync_debug_mode("error" if number and not mode else "default")
            try:
                with tf32(False):
                    trainer.step()
            finally:
                torch.cuda.set_sync_debug_mode("default")
            found[str(mode)] += trainer.read_losses("log").values()
    plain, captured = (torch.tensor(losses, dtype=torch.float64) for losses in found.values())
    return within_limits({"losses": float(((captured - plain) / plain).abs().max())}, {"losses": 1e-3})
