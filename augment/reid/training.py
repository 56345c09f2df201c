"""One training: torchreid's engine, fed by our batches, interrupted and resumed without a trace.

torchreid's own ``run`` writes to the working folder, tests and prints in between, and cannot resume under today's torch
(its checkpoint holds a numpy scalar); so its engine gives the step, and the loop is here.
"""

import csv
import io
import json
import math
import pickle
import time
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch.utils.data import DataLoader

from augment.base.errors import AugmentError
from augment.base.files import atomic_write, sha256_bytes
from augment.base.progress import progress, say
from augment.config import ReidConfig
from augment.reid.batches import Batches, seed_of
from augment.reid.dataset import ManifestDataset, ReidData
from augment.retrieval.networks import build_model
from augment.retrieval.torchreid_quiet import quiet, torchreid
from augment.retrieval.weights import load_weights, weights_digest

VERSION = 1  # of training and testing: another one makes other figures from the same section
_SAVE_EVERY_S = 60.0  # what a kill can cost
_CURVE_POINTS = 100
_NOT_TRAINING = ("arms", "seeds", "distances")  # keys of the section that one training does not depend on


class ReidDataManager(torchreid.data.datamanager.DataManager):
    """What torchreid's engine asks for: loaders and the number of identities, from one :class:`ReidData`."""

    data_type = "image"

    def __init__(self, data: ReidData, section: ReidConfig, device: torch.device):
        with quiet():
            super().__init__(
                "manifests", None, section.height, section.width, list(section.transforms), None, None,
                device.type == "cuda",
            )  # fmt: skip
        self._data, self._section = data, section
        self._num_train_pids = data.people
        self._num_train_cams = len({item[2] for item in data.train})
        self.train_loader: DataLoader | None = None
        self.test_loader = {"manifests": {split: DataLoader(self.test_set(split)) for split in ("query", "gallery")}}

    def test_set(self, split: str) -> ManifestDataset:
        """The images of a split ("train", "query", "gallery"), resized and normalised only."""
        return ManifestDataset(self._data, split, self.transform_te)

    def start(self, seed: int, iteration: int, title: str) -> None:
        """Set the train loader to begin with this iteration's batch."""
        self.train_loader = DataLoader(
            ManifestDataset(self._data, "train", self.transform_tr, keep=True, title=title),
            batch_sampler=Batches(self._data.train, self._section, seed, iteration),
            pin_memory=self.use_gpu,
        )


def trained_model(
    run: str, seed: int, section: ReidConfig, data: ReidData, manager: ReidDataManager, device: torch.device,
    folder: Path,
) -> torch.nn.Module:  # fmt: skip
    """The network of one run: read from ``<run>.safetensors`` if same images and settings made that, else trained.

    Writes beside the weights ``training-<run>.csv`` (iteration, loss, accuracy). While it trains, ``state-<run>.pt``
    holds what a killed training needs to end as if nothing had happened.
    """
    origin = _origin(section, data, seed)
    weights = folder / f"{run}.safetensors"
    torch.manual_seed(seed)
    model = build_model(section.model, data.people, section.loss, section.pretrained, device)
    if _digest_of(weights) == origin["digest"]:
        model.load_state_dict(safetensors.torch.load_file(weights, device=str(device)))
        return model
    if section.start is not None and not load_weights(model, section.start, "reid.start"):
        say("reid: the classifier of reid.start is of other people; this one's begins anew.")
    state = folder / f"state-{run}.pt"
    curve = _train(run, seed, section, manager, model, device, state, origin["digest"])
    _write_curve(folder / f"training-{run}.csv", curve)
    with atomic_write(weights) as file:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
        # One key: safetensors writes several in an order that differs from run to run.
        file.write(safetensors.torch.save(tensors, {"origin": json.dumps(origin, sort_keys=True)}))
    state.unlink(missing_ok=True)
    return model


def _train(
    run: str, seed: int, section: ReidConfig, manager: ReidDataManager, model: torch.nn.Module, device: torch.device,
    state_path: Path, digest: str,
) -> list[tuple[float, float]]:  # fmt: skip
    """All iterations that are left; returns (loss, accuracy in percent) of every one since the first."""
    optimizer = torchreid.optim.build_optimizer(model, optim="adam", lr=section.learning_rate)
    scheduler = torchreid.optim.build_lr_scheduler(optimizer, "cosine", max_epoch=section.iterations)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    curve = _restore(state_path, digest, parts, device)
    manager.start(seed, len(curve), f"{run} images")
    engines = {"softmax": torchreid.engine.ImageSoftmaxEngine, "triplet": torchreid.engine.ImageTripletEngine}
    engine = engines[section.loss](manager, model, optimizer, scheduler=scheduler, use_gpu=device.type == "cuda")
    engine.set_model_mode("train")
    saved = time.monotonic()
    with progress(run, total=section.iterations, done=len(curve), unit="iterations") as advance:
        for iteration, batch in enumerate(manager.train_loader, len(curve)):
            torch.manual_seed(seed_of(seed, iteration))  # dropout, should the network have any
            summary = engine.forward_backward(batch)
            engine.update_lr()
            loss = sum(value for name, value in summary.items() if name.startswith("loss"))
            if not math.isfinite(loss):
                raise AugmentError(
                    f"{run}: the loss is {loss} at iteration {iteration}. Lower reid.learning_rate "
                    f"(now {section.learning_rate:g})."
                )
            curve.append((loss, summary["acc"]))
            advance(note=f"loss {loss:.3f}")
            if time.monotonic() - saved > _SAVE_EVERY_S:
                _save(state_path, digest, parts, curve)
                saved = time.monotonic()
    return curve


def _origin(section: ReidConfig, data: ReidData, seed: int) -> dict:
    """What the weights depend on, and a digest of it."""
    settings = {key: value for key, value in section.identity().items() if key not in _NOT_TRAINING}
    images = [[content, *item[1:]] for content, item in zip(data.train_content, data.train, strict=True)]
    content = sha256_bytes(json.dumps(images).encode())
    origin = {"version": VERSION, "reid": settings, "seed": seed, "images": content, "people": data.people}
    if section.start is not None:
        origin["start"] = weights_digest(section.start, "reid.start")
    return {**origin, "digest": sha256_bytes(json.dumps(origin, sort_keys=True).encode())}


def _digest_of(weights: Path) -> str | None:
    try:
        with safetensors.safe_open(weights, "pt") as file:
            return json.loads(file.metadata()["origin"])["digest"]
    except (OSError, safetensors.SafetensorError, KeyError, TypeError):
        return None


def _save(path: Path, digest: str, parts: dict, curve: list[tuple[float, float]]) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    with atomic_write(path) as file:
        torch.save({"digest": digest, "curve": curve, **state}, file)


def _restore(path: Path, digest: str, parts: dict, device: torch.device) -> list[tuple[float, float]]:
    """Put back what :func:`_save` wrote; an empty curve where there is nothing that fits."""
    if not path.exists():
        return []
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if state["digest"] != digest:
            say(f"{path}: is of other settings or images; training starts anew.")
            return []
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise AugmentError(f"{path}: cannot be read ({error}). Delete it to train this run anew.") from error
    return list(state["curve"])


def _write_curve(path: Path, curve: list[tuple[float, float]]) -> None:
    """Means over equal stretches of the training, so that the file stays small."""
    stretch = max(1, len(curve) // _CURVE_POINTS)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["iteration", "loss", "accuracy"])
    for end in range(stretch, len(curve) + 1, stretch):
        losses, accuracies = zip(*curve[end - stretch : end], strict=True)
        writer.writerow([end, f"{sum(losses) / stretch:.6f}", f"{sum(accuracies) / stretch:.4f}"])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
