"""The images of a study: generated from a run's test pairs, and real ones, the targets of other test pairs."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from augment.base.devices import pick_device
from augment.base.errors import AugmentError, UsageError
from augment.base.files import atomic_write, sha256_bytes
from augment.base.progress import say
from augment.gan.inference import BatchedGenerator, last_weights
from augment.manifest import Manifest, read_manifest, write_manifest
from augment.quality.pictures import Pair, choose_pairs, generated_targets, load_pairs
from augment.stage import finished, provenance
from augment.study.answers import JOURNAL, read_journal
from augment.study.protocol import Protocol

_VERSION = 1


def make_stimuli(protocol: Protocol, run: Path, device: str = "auto") -> Manifest:
    """Generate and write the images of a run's study; returns their table, an existing one where it is up to date.

    Real and generated images have the generator's size and are both PNG files named by hashes, so that neither name nor
    encoding gives them away. Raises :class:`AugmentError` where a table of the run is missing or there are answers to
    other images already, :class:`UsageError` where the run has too few test images.
    """
    images, poses, pairs, checkpoints = (
        read_manifest(run / stage / f"{kind}.parquet", kind)
        for stage, kind in (("images", "images"), ("poses", "poses"), ("pairs", "pairs"), ("gan", "checkpoints"))
    )
    folder = run / "study"
    path = folder / "stimuli.parquet"
    tables = {"images": images, "poses": poses, "pairs": pairs, "checkpoints": checkpoints}
    origin = provenance("study", _VERSION, protocol, tables)
    if (done := finished(path, origin)) is not None:
        return done
    if any(read_journal(folder / JOURNAL).values()):
        raise AugmentError(
            f"{folder}: users have already judged other images, of another generator or protocol. Continue with the "
            "settings of that study, or move the folder away to start a new one."
        )
    chosen = choose_stimuli(images, poses, pairs, protocol)
    say(f"study: generating {protocol.images + protocol.training} images ...")
    device = pick_device(device)
    generator = BatchedGenerator.load(last_weights(checkpoints)[0], device)
    pictures = load_pairs(images, poses, chosen, generator.image_size)
    half = len(chosen) // 2  # the first half is generated, of the others the target is shown
    shown = torch.cat([generated_targets(generator, pictures.select(slice(half))), pictures.target[half:]])
    rows = []
    for number, ((source, target), image) in enumerate(zip(chosen, shown, strict=True)):
        generated = number < half
        id = sha256_bytes(f"{origin['digest']} {generated} {target}".encode())[:16]
        buffer = BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "PNG")
        with atomic_write(folder / "images" / f"{id}.png") as file:
            file.write(buffer.getvalue())
        rows.append({
            "id": id, "path": f"images/{id}.png", "sha256": sha256_bytes(buffer.getvalue()), "width": image.shape[2],
            "height": image.shape[1], "status": "ok", "reason": None, "generated": generated,
            "training": number % half < protocol.training, "source": source if generated else None, "target": target,
        })  # fmt: skip
    return write_manifest(path, "stimuli", rows, origin)


def choose_stimuli(images: Manifest, poses: Manifest, pairs: Manifest, protocol: Protocol) -> list[Pair]:
    """A random sample of test pairs with distinct targets, twice as many as a study has images of a kind.

    Raises :class:`UsageError` where there are not enough.
    """
    usable, _ = choose_pairs(images, poses, pairs, len(pairs.table))
    rng = np.random.default_rng(protocol.seed)
    of_target = {usable[place][1]: usable[place] for place in rng.permutation(len(usable))}
    count = 2 * (protocol.images + protocol.training)
    if len(of_target) < count:
        raise UsageError(
            f"{pairs.path}: {len(of_target)} different images are targets of test pairs, and {protocol.images} of each "
            f"kind, after {protocol.training} of training, need {count}. Ask for fewer with --images, --training."
        )
    targets = sorted(of_target)
    return [of_target[targets[place]] for place in rng.permutation(len(targets))[:count]]
