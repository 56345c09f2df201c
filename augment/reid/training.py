"""One training: torchreid's network and optimiser on our batches, resumed bit for bit.

torchreid's engine is not used: its ``run`` writes to the working directory, evaluates and prints in between, and cannot
resume under current torch; its step synchronises with the device twice and has no per-sample weights.
"""

import csv
import io
import json
import time
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from augment.base.devices import denormals_flushed
from augment.base.errors import AugmentError
from augment.base.files import atomic_write, is_regular_file, remove, sha256_bytes
from augment.base.progress import progress, say
from augment.base.state import load_state, save_state
from augment.base.tensors import load_tensors, save_tensors
from augment.config import ArmConfig, ReidConfig
from augment.reid.arms import composition, teacher_of, uses_synthetic
from augment.reid.batches import Batches, seed_of
from augment.reid.dataset import ReidData
from augment.reid.images import TrainImages
from augment.reid.losses import build_network, training_loss
from augment.retrieval.networks import autocast
from augment.retrieval.torchreid_quiet import torchreid
from augment.retrieval.weights import load_weights, weights_digest

_KEY = "origin"  # of the weights files' headers
VERSION = 4  # of training and evaluation: incremented when the same section gives other figures
_SAVE_EVERY_S = 60.0  # the most that a kill costs
_CHECK_EVERY = 20  # iterations: reading a loss synchronises with the device
_CURVE_POINTS = 100
_OF_THE_ARM = ("loss", "iterations", "lengths", "transforms")
_NOT_TRAINING = ("arms", "seeds", "distances", *_OF_THE_ARM)


def trained_model(
    run: str, seed: int, section: ReidConfig, arm: ArmConfig, data: ReidData, device: torch.device, folder: Path
) -> torch.nn.Module:
    """The network of one run: read from ``<run>.safetensors`` if it has the same images and settings, else trained.

    No field of ``arm`` is None. Beside the weights it writes ``training-<run>.csv`` (iteration, loss, accuracy). During
    training ``state-<run>.pt`` holds the state from which a killed training resumes, to the same weights.
    """
    origin = training_origin(section, arm, data, seed)
    weights = folder / f"{run}.safetensors"
    torch.manual_seed(seed)
    model = build_network(section, arm, data.people, device)
    known, trained = _trained(weights)
    if trained.get("digest") == origin["digest"]:
        if "curve" in trained:  # the CSV may be missing
            _write(folder / f"training-{run}.csv", trained["curve"])
        model.load_state_dict(known)
        return model
    if section.start is not None and not load_weights(model, section.start, "reid.start"):
        say("reid: reid.start was trained on other identities; the classifier is initialised.")
    state = folder / f"state-{run}.pt"
    teacher = _teacher(seed, section, arm, data, device, folder) if _has_teacher(arm) else None
    curve = _curve_text(_train(run, seed, section, arm, data, model, teacher, device, state, origin["digest"]))
    _write(folder / f"training-{run}.csv", curve)
    save_tensors(weights, model.state_dict(), _KEY, {**origin, "curve": curve})
    remove(state)
    return model


def _has_teacher(arm: ArmConfig) -> bool:
    return arm.label == "teacher" and uses_synthetic(arm)


def _teacher(
    seed: int, section: ReidConfig, arm: ArmConfig, data: ReidData, device: torch.device, folder: Path
) -> torch.nn.Module:
    """The network of the same seed trained on the real images alone: that of an arm where there is one."""
    alone, real = teacher_of(section, arm), data.without_synthetic()
    digest = training_origin(section, alone, real, seed)["digest"]
    files = sorted(folder.glob(f"*-s{seed}.safetensors"))
    same = (weights.stem for weights in files if _trained(weights)[1].get("digest") == digest)
    run = next(same, f"teacher-{alone.loss}-{alone.iterations}-s{seed}")
    with FileLock(folder / f"{run}.lock"):  # another arm may train it at the same time
        return trained_model(run, seed, section, alone, real, device, folder).eval()


def _train(
    run: str, seed: int, section: ReidConfig, arm: ArmConfig, data: ReidData, model: torch.nn.Module,
    teacher: torch.nn.Module | None, device: torch.device, state_path: Path, digest: str,
) -> list[tuple[float, float]]:  # fmt: skip
    """Run the remaining iterations; returns (loss, accuracy in percent) of all, those before an interruption too."""
    optimizer = torchreid.optim.build_optimizer(
        model, optim="adam", lr=section.learning_rate, weight_decay=section.weight_decay, adam_beta1=section.beta1,
        adam_beta2=section.beta2,
    )  # fmt: skip
    scheduler = torchreid.optim.build_lr_scheduler(optimizer, "cosine", max_epoch=arm.iterations)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    curve = _restore(state_path, digest, parts, device)
    first = len(curve)
    images = TrainImages(data.train, (section.height, section.width), arm.images == "copied", device, f"{run} images")
    values = torch.zeros(arm.iterations, 2, device=device)
    values[:first] = torch.tensor(curve).reshape(-1, 2)
    model.train()
    saved = time.monotonic()
    # Training from given weights meets so many denormal numbers that they take a quarter of its time.
    with denormals_flushed(), progress(run, total=arm.iterations, done=first, unit="iterations") as advance:
        for iteration, indices in enumerate(Batches(data.train, arm, section, seed, first), first):
            torch.manual_seed(seed_of(seed, iteration))  # dropout, should the network have any
            batch = images.batch(indices, arm.transforms, seed, iteration, 1)
            with autocast(device, section.precision):
                taught = teacher if composition(arm, iteration)[1] else None
                loss, values[iteration, 1] = training_loss(model, *batch, section, arm, taught)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            values[iteration, 0] = loss.detach()
            done = iteration + 1
            if done % _CHECK_EVERY == 0 or done == arm.iterations:
                _check(values[:done, 0], run, section)
                advance(done - first, f"loss {float(values[iteration, 0]):.3f}")
                first = done
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    _save(state_path, digest, parts, values[:done])
                    saved = time.monotonic()
    return [tuple(row) for row in values.tolist()]


def _check(losses: Tensor, run: str, section: ReidConfig) -> None:
    wrong = (~losses.isfinite()).nonzero()
    if len(wrong):
        iteration = int(wrong[0])
        raise AugmentError(
            f"{run}: the loss is {float(losses[iteration])} at iteration {iteration}. Lower reid.learning_rate "
            f"(now {section.learning_rate:g})."
        )


def training_origin(section: ReidConfig, arm: ArmConfig, data: ReidData, seed: int) -> dict:
    """Everything that the weights depend on, and its digest."""
    settings = {key: value for key, value in section.identity().items() if key not in _NOT_TRAINING}
    of_arm = arm.identity()
    if not uses_synthetic(arm):  # settings of synthetic images have no effect
        of_arm = {key: of_arm[key] for key in ("real", "alone", "synthetic", "loss", "transforms", "iterations")}
    images = [[content, *item[1:]] for content, item in zip(data.train_content, data.train, strict=True)]
    content = sha256_bytes(json.dumps(images).encode())
    origin = {"version": VERSION, "reid": settings, "arm": of_arm, "seed": seed, "images": content,
              "people": data.people}  # fmt: skip
    if section.start is not None:
        origin["start"] = weights_digest(section.start, "reid.start")
    if _has_teacher(arm):
        origin["teacher"] = training_origin(section, teacher_of(section, arm), data.without_synthetic(), seed)["digest"]
    return {**origin, "digest": sha256_bytes(json.dumps(origin, sort_keys=True).encode())}


def _trained(weights: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a weights file, what they were trained from and their curve; empty where there is none."""
    if not is_regular_file(weights):
        return {}, {}
    try:
        return load_tensors(weights, _KEY)
    except AugmentError as error:
        say(f"{error} It is trained again.")
        return {}, {}


def _save(path: Path, digest: str, parts: dict, curve: Tensor) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    save_state(path, {"digest": digest, "curve": curve.tolist(), **state})


def _restore(path: Path, digest: str, parts: dict, device: torch.device) -> list[tuple[float, float]]:
    """Restore what :func:`_save` wrote for this digest; returns its curve, empty where there is none."""
    if not is_regular_file(path):
        return []
    state = load_state(path, device)
    try:
        if state["digest"] != digest:
            say(f"{path}: was saved with other settings or images; training starts from scratch.")
            return []
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (RuntimeError, KeyError, ValueError) as error:
        raise AugmentError(f"{path}: cannot be read ({error}). Delete it to train this run from scratch.") from error
    return list(state["curve"])


def _curve_text(curve: list[tuple[float, float]]) -> str:
    """A CSV of means over equal intervals, so that the file stays small."""
    stretch = max(1, len(curve) // _CURVE_POINTS)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["iteration", "loss", "accuracy"])
    for end in range(stretch, len(curve) + 1, stretch):
        losses, accuracies = zip(*curve[end - stretch : end], strict=True)
        writer.writerow([end, f"{sum(losses) / stretch:.6f}", f"{sum(accuracies) / stretch:.4f}"])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
