"""Training of the crop estimator: a plain loop around openpifpaf's network and losses, without its square padding.

Half of a 128x64 crop padded to a square is padding, and openpifpaf's encoders take longer than the network's step.
Here crops keep their shape, and a batch's targets are computed at once (:mod:`augment.pose.estimator.targets`). The
length is given in minutes, since the number of steps depends on the machine; the learning rate follows a cosine.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch.nn import functional

from augment.base.errors import AugmentError
from augment.base.progress import say
from augment.base.shuffling import Shuffled
from augment.base.state import load_state, save_state
from augment.pose.estimator import openpifpaf_adapter as adapter
from augment.pose.estimator.checkpoints import Checkpoint
from augment.pose.estimator.labelled import CROP_SIZE, Example, LabelledCrops
from augment.pose.estimator.network_input import input_size, normalise
from augment.pose.estimator.targets import ABSENT, LABELLED, UNLABELLED, encode
from augment.pose.skeleton import COCO_MIRROR

INPUT_SIZE = input_size(*CROP_SIZE)  # height, width
_FACE = slice(0, 5)  # COCO's nose, eyes and ears
_WARM_UP_STEPS = 100
_SHUFFLED, _BLOWN_UP = 0.06, 0.06  # shares of crops made into images without a person
_SQUARE = 16  # pixels; divides a crop's height and width


@dataclass
class _Run:
    """The state that an interrupted training resumes from."""

    step: int = 0
    minutes: float = 0.0


def train_estimator(
    examples: Sequence[Example],
    output: Path,
    *,
    start: Checkpoint,
    minutes: float = 60.0,
    learning_rate: float = 1e-3,
    batch_size: int = 32,
    seed: int = 0,
    save_every_minutes: float = 3.0,
) -> Path:
    """Fine-tune the checkpoint ``start`` and write ``output``, loadable by openpifpaf as well; returns its path.

    ``examples``, real or rendered, are sampled uniformly. An interrupted training is resumed (its state is in
    ``<output>.state``); the minutes it already took count. Raises :class:`AugmentError` where there are too few
    examples, the state is of another training, or the loss is no longer finite.
    """
    data = LabelledCrops.of(examples)
    if len(data.crops) < batch_size:
        raise AugmentError(f"Only {len(data.crops)} crops with joints to train on; at least {batch_size} are needed.")
    network = adapter.load_network(start.path, start.sha256).train().to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    loss_function = adapter.field_loss(network)
    layout = adapter.field_layout(network)
    state_path = output.with_name(output.name + ".state")
    made_from = {"start": start.sha256, "crops": data.digest(), "batch size": batch_size, "seed": seed}
    run = _resume(state_path, made_from, network, average, optimizer)
    last, saved, shown = monotonic(), run.minutes, []
    for crops, joints, known in _batches(data, batch_size, seed, first=run.step):
        now = monotonic()
        run.minutes, last = run.minutes + (now - last) / 60, now
        if run.minutes >= minutes:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate(run.step, run.minutes / minutes, learning_rate)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + run.step)
        images, points, state = augment(crops, joints, known, generator)
        outputs = network(images.contiguous(memory_format=torch.channels_last))
        total, _ = loss_function(outputs, encode(points, state, INPUT_SIZE, layout))
        if not total.isfinite():
            raise AugmentError(f"{output}: the loss is not finite after {run.step} steps. Lower the learning rate.")
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        average.update_parameters(network)
        run.step += 1
        shown.append(total.item())
        if run.minutes - saved >= save_every_minutes:
            _save(state_path, output, made_from, run, network, average, optimizer)
            say(f"pose training: {run.minutes:.1f} of {minutes:g} min, step {run.step}, loss {np.mean(shown):.1f}")
            saved, shown = run.minutes, []
    _save(state_path, output, made_from, run, network, average, optimizer)
    say(f"pose training: done after {run.step} steps of {batch_size} crops: {output}")
    return output


def rate(step: int, done: float, highest: float) -> float:
    """A short warm-up by steps, then a cosine down to a thousandth over the share ``done`` of the time."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return highest * max(cosine, 1e-3) * min(1.0, (step + 1) / _WARM_UP_STEPS)


def augment(
    crops: torch.Tensor, joints: torch.Tensor, known: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """uint8 crops (B, H, W, 3), joints (B, 17, 2), known (B, 17) -> network input, its joints, their states.

    Mirrored, turned, scaled, shifted and recoloured at random, in one resampling. A joint that was not published is
    unlabelled half of the time and absent otherwise: some were overlooked, but most were not visible. In the face it is
    always absent, since the usual cause is a person seen from behind. A few crops become images without a person, so
    that confidences are calibrated: cut into shuffled squares, or a small patch enlarged.
    """
    count, (height, width) = len(crops), crops.shape[1:3]

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    chance = torch.rand(count, generator=generator)
    shuffled, blown_up = chance < _SHUFFLED, (chance >= _SHUFFLED) & (chance < _SHUFFLED + _BLOWN_UP)
    mirrored = torch.rand(count, generator=generator) < 0.5
    images = crops.permute(0, 3, 1, 2).float() / 255
    images[shuffled] = _shuffle(images[shuffled], generator)
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    flipped = joints[:, COCO_MIRROR] * torch.tensor([-1.0, 1.0]) + torch.tensor([width - 1.0, 0.0])
    joints = torch.where(mirrored[:, None, None], flipped, joints)
    known = torch.where(mirrored[:, None], known[:, COCO_MIRROR], known)

    # output pixel -> crop pixel: p = centre + matrix (q - centre of output) / scale + shift
    angle, scale = uniform(-0.2, 0.2), torch.exp(uniform(-0.2, 0.2))
    scale = torch.where(blown_up, uniform(4.0, 8.0), scale)
    shift = torch.where(blown_up[:, None], uniform(-0.45, 0.45, 2), uniform(-0.06, 0.06, 2))
    shift = shift * torch.tensor([width, height])
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    out_h, out_w = INPUT_SIZE
    ratio = torch.tensor([(width - 1) / (out_w - 1), (height - 1) / (out_h - 1)])  # crop pixels an output pixel
    middle, out_middle = torch.tensor([width - 1, height - 1]) / 2, torch.tensor([out_w - 1, out_h - 1]) / 2
    grid = torch.stack(torch.meshgrid(torch.arange(out_w), torch.arange(out_h), indexing="xy"), dim=-1).float()
    centred = ((grid - out_middle) * ratio).view(1, -1, 2) / scale[:, None, None]
    sampled = centred @ turn.mT + (middle + shift)[:, None]
    normal = sampled / torch.tensor([width - 1, height - 1]) * 2 - 1
    images = functional.grid_sample(
        images, normal.view(count, out_h, out_w, 2), padding_mode="border", align_corners=True
    )
    points = ((joints - (middle + shift)[:, None]) @ turn) * scale[:, None, None] / ratio + out_middle

    inside = ((points >= 0) & (points <= torch.tensor([out_w - 1, out_h - 1]))).all(dim=-1)
    state = torch.where(known & inside, LABELLED, ABSENT)
    overlooked = ~known & (torch.rand(known.shape, generator=generator) < 0.5)
    overlooked[:, _FACE] = False
    state = state.masked_fill(overlooked, UNLABELLED).masked_fill((shuffled | blown_up)[:, None], ABSENT)
    return _recolour(images, uniform), points, state


def _shuffle(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image (B, 3, H, W) cut into shuffled squares."""
    count, _, height, width = images.shape
    squares = functional.unfold(images, _SQUARE, stride=_SQUARE)  # (B, values of a square, squares)
    order = torch.rand(count, 1, squares.shape[2], generator=generator).argsort(dim=2).expand_as(squares)
    return functional.fold(squares.gather(2, order), (height, width), _SQUARE, stride=_SQUARE)


def _recolour(images: torch.Tensor, uniform) -> torch.Tensor:
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * uniform(0.6, 1.4, 1, 1, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * uniform(0.7, 1.3, 1, 1, 1)
    return normalise((images * uniform(0.7, 1.3, 1, 1, 1) * uniform(0.9, 1.1, 3, 1, 1)).clamp(0, 1))


def _batches(data: LabelledCrops, size: int, seed: int, first: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """Endless batches, a new order of all crops each epoch, starting at batch number ``first``."""
    shuffled, per_epoch = Shuffled(len(data.crops), seed), len(data.crops) // size
    for number in itertools.count(first):
        place = number % per_epoch * size
        chosen = shuffled.epoch(number // per_epoch)[place : place + size]
        yield tuple(torch.from_numpy(values[chosen]) for values in (data.crops, data.joints, data.known))


def _save(state_path, output, made_from, run, network, average, optimizer) -> None:
    state = {
        "made_from": made_from, "step": run.step, "minutes": run.minutes, "network": network.state_dict(),
        "average": average.state_dict(), "optimizer": optimizer.state_dict(),
    }  # fmt: skip
    save_state(state_path, state)
    adapter.save_network(average.module, output, {"steps": run.step})


def _resume(state_path, made_from, network, average, optimizer) -> _Run:
    if not state_path.exists():
        return _Run()
    state = load_state(state_path)
    before = state.get("made_from", {})
    if differing := [name for name, value in made_from.items() if before.get(name) != value]:
        raise AugmentError(f"{state_path}: is of a training with another {', '.join(differing)}. Set that back to "
                           "resume it, name another output, or delete the file to train from scratch.")  # fmt: skip
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return _Run(state["step"], state["minutes"])
