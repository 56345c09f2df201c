"""The stage: the generator's images of the test pairs, beside what handing back the source image would score."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from augment.base.devices import pick_device
from augment.base.files import atomic_write
from augment.base.progress import progress, say
from augment.config import Config, QualityConfig
from augment.gan.cost import generation_seconds
from augment.gan.inference import BatchedGenerator, last_weights
from augment.manifest import Manifest, write_manifest
from augment.quality import detection, inception
from augment.quality.detection import PersonDetector
from augment.quality.examples import Load, write_examples
from augment.quality.inception import InceptionClassifier
from augment.quality.pictures import Pair, PairPictures, choose_pairs, generated_targets, load_pairs
from augment.quality.scores import PER_PAIR, Judges, body_masks, judge, pair_scores, summary
from augment.stage import Begun, Counts, Estimate, finished, hashes_of, provenance

COPIED = "source copied"  # the arm that hands back the source: a generator that is not better has learned nothing
REAL = "real images"  # the arm of the targets themselves; only the networks' scores mean something there

PER_PAIR_FILE = "per_pair.csv"

_VERSION = 1
_PAIRS_PER_PART = 1000  # what a killed run loses at most; not part of the result
_PAIRS_PER_SECOND = 25.0  # two cores, without generating

Scores = dict[tuple[str, str], np.ndarray]  # (arm, metric) -> a value or a row for each pair


def identity(
    section: QualityConfig, images: Manifest, poses: Manifest, pairs: Manifest, checkpoints: Manifest, folder: Path
) -> dict[str, Any]:
    """See augment/stage.py."""
    inputs: dict[str, Manifest | str] = {"images": images, "poses": poses, "pairs": pairs, "checkpoints": checkpoints}
    if section.detection_score:
        inputs["detector_weights"] = detection.weights_identity(section.detector_weights)
    if section.inception_score:
        inputs["inception_weights"] = inception.weights_identity(section.inception_weights)
    return provenance("quality", _VERSION, section, inputs)


def begun(folder: Path, origin: dict[str, Any]) -> Begun:
    """See augment/stage.py; counts pairs."""
    parts = _parts_folder(folder, origin).glob("*.npz")
    return Begun(sum(len(next(iter(_read_part(part).values()))) for part in parts))


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    total = min(counts.test_pairs, config.quality.pairs)
    seconds = 5 + total * (1 / _PAIRS_PER_SECOND + generation_seconds(config))
    return Estimate(f"{counts.limit}{total:,} test pairs", total, total * 100 + 5 * 2**20, seconds, on_gpu=True)


def measure_quality(
    section: QualityConfig, images: Manifest, poses: Manifest, pairs: Manifest, checkpoints: Manifest, folder: Path
) -> Manifest:
    """Score the last checkpoint's averaged weights on the test pairs (Sec. 6). Returns the table of metrics.

    Beside it lie ``per_pair.csv`` with every pair's scores, and ``examples/`` with strips (source, its pose, target
    pose, target, generated) of the best, typical and worst by ``ssim_released``, listed in ``examples.csv``.
    Without test pairs the table is empty. Raises :class:`AugmentError` where a checkpoint or a judge's weights lack.
    """
    folder = Path(folder)
    path = folder / "metrics.parquet"
    origin = identity(section, images, poses, pairs, checkpoints, folder)
    if (done := finished(path, origin)) is not None:
        return done

    chosen, left_out = choose_pairs(images, poses, pairs, section.pairs)
    if left_out:
        say(f"quality: {left_out} test pairs were left out: an image or a pose is missing.")
    if not chosen:
        say("quality: there are no test pairs, so nothing can be measured. Poses of the gallery make test pairs.")
        _write_per_pair(folder, chosen, {}, "")
        return write_manifest(path, "metrics", [], origin, hashes_of(folder, [PER_PAIR_FILE]))

    device = pick_device(section.device)
    generator = BatchedGenerator.load(last_weights(checkpoints)[0], device, section.batch_size)
    gan = generator.config
    judges = Judges(
        InceptionClassifier(device, section.inception_weights) if section.inception_score else None,
        PersonDetector(device, section.detector_weights) if section.detection_score else None,
    )
    parts = _parts_folder(folder, origin)

    def load(some: list[Pair]) -> PairPictures:
        return load_pairs(images, poses, some, generator.image_size)

    scores = _score_all(chosen, load, generator, judges, gan.system, parts)
    _write_per_pair(folder, chosen, scores, gan.system)
    generate = partial(generated_targets, generator)
    examples = write_examples(folder, chosen, scores[gan.system, "ssim_released"], load, generate)
    manifest = write_manifest(path, "metrics", _rows(scores, gan.system, gan.seed, len(chosen)), origin,
                              hashes_of(folder, [PER_PAIR_FILE, *examples]))  # fmt: skip
    shutil.rmtree(folder / ".parts", ignore_errors=True)
    return manifest


def _score_all(pairs: list[Pair], load: Load, generator: BatchedGenerator, judges: Judges, system: str,
               parts: Path) -> Scores:  # fmt: skip
    """Scores of all pairs; finished thousands lie in ``parts`` and are not made again."""
    found: list[Scores] = []
    with progress("quality", total=len(pairs), unit="pairs") as advance:
        for start in range(0, len(pairs), _PAIRS_PER_PART):
            some = pairs[start : start + _PAIRS_PER_PART]
            part = parts / f"{start:08d}.npz"
            if part.exists():
                found.append(_read_part(part))
                advance(len(some))
                continue
            pictures = load(some)
            batches = []
            for first in range(0, len(some), generator.batch_size):
                batch = pictures.select(slice(first, first + generator.batch_size))
                batches.append(_score_batch(batch, generator, judges, system))
                advance(len(batch))
            found.append(_joined(batches))
            with atomic_write(part) as file:
                np.savez(file, **{"|".join(key): value for key, value in found[-1].items()})
    return _joined(found)


def _score_batch(batch: PairPictures, generator: BatchedGenerator, judges: Judges, system: str) -> Scores:
    masks = body_masks(batch.target_joints, tuple(batch.target.shape[-2:])).to(generator.device)
    target = batch.target.to(generator.device)
    scores: Scores = {}
    for arm, images in ((system, generated_targets(generator, batch)), (COPIED, batch.source), (REAL, batch.target)):
        images = images.to(generator.device)
        found = judge(judges, images, masks)
        if arm != REAL:
            found |= pair_scores(images, target, masks)
        scores |= {(arm, metric): values for metric, values in found.items()}
    return scores


def _joined(parts: list[Scores]) -> Scores:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _parts_folder(folder: Path, origin: dict[str, Any]) -> Path:
    return folder / ".parts" / origin["digest"][:16]


def _read_part(path: Path) -> Scores:
    with np.load(path, allow_pickle=False) as arrays:
        return {tuple(name.split("|")): arrays[name] for name in arrays.files}


def _rows(scores: Scores, system: str, seed: int, count: int) -> list[dict[str, Any]]:
    rows = []
    for arm in dict.fromkeys(arm for arm, _ in scores):
        values = summary({metric: value for (one, metric), value in scores.items() if one == arm})
        values["pairs"] = float(count)
        origin = {"run": "quality", "arm": arm, "seed": seed if arm == system else 0}
        rows += [{**origin, "metric": metric, "value": value} for metric, value in values.items()]
    return rows


def _write_per_pair(folder: Path, pairs: list[Pair], scores: Scores, system: str) -> None:
    """One line a pair: the generator's scores, and under ``copied_`` those of the source handed back."""
    table = pd.DataFrame(pairs, columns=["from", "to"])
    for arm, prefix in ((system, ""), (COPIED, "copied_")):
        for metric in PER_PAIR:
            table[prefix + metric] = scores.get((arm, metric), np.empty(0))
    with atomic_write(folder / PER_PAIR_FILE) as file:
        file.write(table.to_csv(index=False, float_format="%.6f").encode())
