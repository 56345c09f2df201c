"""The fourth stage: a generator, trained (Sec. 5) or used as it is."""

from pathlib import Path
from typing import Any

from augment.base.devices import pick_device
from augment.base.errors import UsageError
from augment.base.files import sha256_file
from augment.config import Config, GanConfig
from augment.gan import processes
from augment.gan.checkpoints import save_weights
from augment.gan.cost import training_bytes, training_memory, training_seconds
from augment.gan.dataset import choose_size, load_pair_data
from augment.gan.features import VGG19_BYTES, check_features, features_digest, vgg19_to_fetch
from augment.gan.fidelity import preset
from augment.gan.folder import place_of_training, take_folder
from augment.gan.generators import find_generator, load_start, resolve_start
from augment.gan.networks import channels_of
from augment.gan.trainer import Trainer
from augment.gan.training import Training
from augment.manifest import Manifest, write_manifest
from augment.stage import Begun, Counts, Estimate, finished, provenance

STAGE = "gan"


def identity(section: GanConfig, images: Manifest, poses: Manifest, pairs: Manifest,
             folder: Path) -> dict[str, Any]:  # fmt: skip
    """See augment/stage.py."""
    section = resolve_start(section)
    inputs = {"images": images, "poses": poses, "pairs": pairs}
    # A preset's name is part of a training's identity, what it means is not: modern has a gradient penalty since.
    version = 2 if section.iterations and preset(section.fidelity).gradient_penalty else 1
    return provenance(STAGE, version, section, inputs | named_files(section))


def named_files(section: GanConfig) -> dict[str, str]:
    """See augment/stage.py."""
    section = resolve_start(section)
    found = {}
    if section.start is not None:
        found["start"] = sha256_file(find_generator(section.start))
    elif section.iterations == 0:
        raise UsageError("gan.iterations=0 uses a finished generator as it is: name it with gan.start, or train for "
                         "at least one iteration.")  # fmt: skip
    if section.image_size is not None:
        channels_of(section.image_size, section.width)
    if section.iterations:
        features = features_digest(section)
        check_features(section)
        found |= {} if features is None else {"features": features}
    return found


def begun(folder: Path, origin: dict[str, Any]) -> Begun:
    """See augment/stage.py; counts iterations."""
    place = place_of_training(folder, origin)
    newest = max(place.glob("state-*.pt"), default=None) if place else None
    iterations = int(newest.stem.partition("-")[2]) if newest else 0
    ended = place is not None and (place / "checkpoints.parquet").exists()
    if place == folder:
        return Begun(iterations, why="resumes a shorter training" if ended else "was interrupted")
    return Begun(iterations, complete=ended, why="made before, set aside since" if ended else "was interrupted")


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    gan = config.gan
    amount = f"{gan.iterations:,} iterations of {gan.batch_size} pairs ({gan.system}, width {gan.width:g})"
    fetched = {place.parent: VGG19_BYTES} if (place := vgg19_to_fetch(gan)) else {}
    size = training_bytes(config) + sum(fetched.values())
    return Estimate(amount, gan.iterations, size, training_seconds(config), on_gpu=True,
                    memory=training_memory(config, counts), elsewhere=fetched)  # fmt: skip


def train_gan(section: GanConfig, images: Manifest, poses: Manifest, pairs: Manifest, folder: Path, *,
              resume_from: Path | None = None) -> Manifest:  # fmt: skip
    """Train a generator, or resume a training that was interrupted; returns the checkpoints manifest.

    Rows: role ``last`` (of the last iteration), ``best`` (lowest reconstruction loss of the averaged weights on 64 test
    pairs) and ``step`` (the ``keep_checkpoints`` most recent others). Under torchrun the processes share each batch.
    ``gan.start`` initialises it with another generator's weights; with ``gan.iterations=0`` those are the result.
    ``resume_from``: a state file of another folder. Raises :class:`AugmentError` where there are no training pairs,
    that file is of another configuration, or a loss is no longer finite.
    """
    folder, section = Path(folder), resolve_start(section)
    origin = identity(section, images, poses, pairs, folder)
    device = pick_device(section.device)
    with processes.process_group(device):
        if processes.rank() == 0:
            take_folder(folder, origin)
        processes.barrier()
        done = finished(folder / "checkpoints.parquet", origin)
        if done is not None:
            return done
        if section.iterations == 0:
            return _adopt(section, origin, choose_size(section, images, sorted({*pairs.frame()["from"]})), folder)
        data = load_pair_data(section, images, poses, pairs, device)
        trainer = Trainer(section, data, device)
        if section.start is not None:
            trainer.start_from(load_start(section, data.image_size))
        training = Training(section, origin, trainer, folder)
        training.resume(resume_from)
        training.run()
        processes.barrier()
    return Manifest(folder / "checkpoints.parquet")


def _adopt(section: GanConfig, origin: dict[str, Any], image_size: tuple[int, int], folder: Path) -> Manifest:
    """The checkpoints manifest of a generator that is used as it is."""
    weights = load_start(section, image_size).state_dict()
    header = {"system": section.system, "image_size": list(image_size), "config": origin["section"],
              "digest": origin["digest"], "inputs": origin["inputs"], "iteration": 0, "losses": {}, "validation": None,
              "parent": origin["inputs"]["start"]}  # fmt: skip
    file = "weights-000000.safetensors"
    copies = {name: tensor.clone() for name, tensor in weights.items()}  # raw and average may not share memory
    sha256 = save_weights(folder / file, copies, weights, header)
    rows = [
        {"id": f"gan/{role}", "path": file, "sha256": sha256, "status": "ok", "reason": None, "role": role,
         "iteration": 0, "system": section.system, "config_digest": origin["digest"], "losses": "{}",
         "parent": header["parent"]}
        for role in ("last", "best")
    ]  # fmt: skip
    return write_manifest(folder / "checkpoints.parquet", "checkpoints", rows, origin)
