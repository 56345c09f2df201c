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
from augment.quality.examples import Load, write_examples
from augment.quality.identity import Embedder, Gallery, look_for, read_gallery
from augment.quality.networks import digests, missing, open_networks, suffixes
from augment.quality.observations import Batch, Observations, Observe
from augment.quality.pictures import Pair, PairPictures, choose_pairs, generated_targets, load_pairs
from augment.quality.registry import METRICS, Evidence, metrics_of
from augment.quality.scores import PER_PAIR, body_masks, pair_scores
from augment.retrieval.evaluation import NoRightAnswer
from augment.stage import Begun, Counts, Estimate, finished, hashes_of, provenance

COPIED = "source copied"  # the arm that hands back the source: a generator that is not better has learned nothing
REAL = "real target"  # the arm of the targets themselves

PER_PAIR_FILE, TABLE_FILE = "per_pair.csv", "table.csv"

_VERSION = 2
_PAIRS_PER_PART = 1000  # what a killed run loses at most; not part of the result
_TABLE = ["arm", "metric", "value", "low", "high", "missing"]
_PAIRS_PER_SECOND = 25.0  # two cores, without generating

Arms = dict[str, Observations]  # what was observed of the images of each arm


def identity(
    section: QualityConfig, images: Manifest, poses: Manifest, pairs: Manifest, checkpoints: Manifest, folder: Path
) -> dict[str, Any]:
    """See augment/stage.py."""
    inputs: dict[str, Manifest | str] = {"images": images, "poses": poses, "pairs": pairs, "checkpoints": checkpoints}
    return provenance("quality", _VERSION, section, inputs | digests(section))


def begun(folder: Path, origin: dict[str, Any]) -> Begun:
    """See augment/stage.py; counts pairs."""
    parts = _parts_folder(folder, origin).glob("*.npz")
    return Begun(sum(len(_read_part(part)[COPIED]["ssim_255"]) for part in parts))


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    total = min(counts.test_pairs, config.quality.pairs)
    seconds = 5 + total * (1 / _PAIRS_PER_SECOND + generation_seconds(config))
    return Estimate(f"{counts.limit}{total:,} test pairs", total, total * 100 + 5 * 2**20, seconds, on_gpu=True)


def measure_quality(
    section: QualityConfig, images: Manifest, poses: Manifest, pairs: Manifest, checkpoints: Manifest, folder: Path
) -> Manifest:
    """Score the last checkpoint's averaged weights on the test pairs (Sec. 6). Returns the table of metrics.

    Beside it lie ``table.csv`` with every metric's interval and what is missing for those that have no value;
    ``per_pair.csv`` with every pair's scores; and ``examples/`` with strips (source, its pose, target pose, target,
    generated) of the best, typical and worst by ``ssim_released``, listed in ``examples.csv``. Without test pairs the
    table is empty. Raises :class:`AugmentError` where there is no checkpoint, or a file of weights holds others.
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
        _write_csv(folder / TABLE_FILE, pd.DataFrame(columns=_TABLE))
        _write_csv(folder / PER_PAIR_FILE, pd.DataFrame(columns=["from", "to", *PER_PAIR]))
        return write_manifest(path, "metrics", [], origin, hashes_of(folder, [TABLE_FILE, PER_PAIR_FILE]))
    for network, line in missing(section).items():
        say(f"quality: not measured: {', '.join(metrics_of(network))}. Missing is {line}.")

    device = pick_device(section.device)
    generator = BatchedGenerator.load(last_weights(checkpoints)[0], device, section.batch_size)
    gan = generator.config
    networks = open_networks(section, device)
    parts = _parts_folder(folder, origin)

    def load(some: list[Pair]) -> PairPictures:
        return load_pairs(images, poses, some, generator.image_size)

    arms = _observe_all(chosen, load, generator, networks, gan.system, parts)
    if section.identity_weights is not None:
        embedder = Embedder(section.identity_weights, device)
        _look_for_people(arms, chosen, _gallery(images, chosen, embedder, generator.image_size, parts))
    table = measure(arms, chosen, section)
    _write_csv(folder / TABLE_FILE, table)
    _write_csv(folder / PER_PAIR_FILE, _per_pair(arms, chosen, gan.system))
    generate = partial(generated_targets, generator)
    examples = write_examples(folder, chosen, arms[gan.system]["ssim_released"], load, generate)
    manifest = write_manifest(path, "metrics", _rows(table, gan.system, gan.seed, len(chosen)), origin,
                              hashes_of(folder, [TABLE_FILE, PER_PAIR_FILE, *examples]))  # fmt: skip
    shutil.rmtree(folder / ".parts", ignore_errors=True)
    return manifest


def _observe_all(
    pairs: list[Pair], load: Load, generator: BatchedGenerator, networks: dict[str, Observe], system: str, parts: Path
) -> Arms:
    """Observations of all pairs; finished thousands lie in ``parts`` and are not made again."""
    found: list[Arms] = []
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
                batches.append(_observe(batch, generator, networks, system))
                advance(len(batch))
            found.append(_joined(batches))
            with atomic_write(part) as file:
                np.savez(file, **{f"{arm}|{name}": values for arm, observed in found[-1].items()
                                  for name, values in observed.items()})  # fmt: skip
    return _joined(found)


def _observe(pictures: PairPictures, generator: BatchedGenerator, networks: dict[str, Observe], system: str) -> Arms:
    masks = body_masks(pictures.target_joints, tuple(pictures.target.shape[-2:])).to(generator.device)
    targets = pictures.target.to(generator.device)
    arms: Arms = {}
    shown = {system: generated_targets(generator, pictures), COPIED: pictures.source, REAL: pictures.target}
    for arm, images in shown.items():
        batch = Batch(images.to(generator.device), targets, masks, pictures.target_joints)
        arms[arm] = {} if arm == REAL else pair_scores(batch.images, targets, masks)  # perfect by definition
        for observe in networks.values():
            arms[arm] |= observe(batch)
    return {arm: observed for arm, observed in arms.items() if observed}


def _gallery(images: Manifest, pairs: list[Pair], embedder: Embedder, size: tuple[int, int], parts: Path) -> Gallery:
    """The real images of the test pairs' split, kept in ``parts`` as the observations are."""
    file = parts / "gallery"
    if file.exists():
        with np.load(file, allow_pickle=False) as arrays:
            return Gallery(**arrays)
    split = images.frame().set_index("id")["split"][pairs[0][0]]
    gallery = read_gallery(images, split, embedder, size)
    with atomic_write(file) as stream:
        np.savez(stream, **gallery._asdict())
    return gallery


def _look_for_people(arms: Arms, pairs: list[Pair], gallery: Gallery) -> None:
    """Add what each image finds as a query; the real target is one from its own camera."""
    sources, targets = zip(*pairs, strict=True)
    for arm, observed in arms.items():
        try:
            found = look_for(observed["osnet"], targets if arm == REAL else sources, targets, gallery)
        except NoRightAnswer as error:
            say(f"quality: {error}")
            return
        observed["identity_rank1"], observed["identity_average_precision"] = found


def measure(arms: Arms, pairs: list[Pair], section: QualityConfig) -> pd.DataFrame:
    """Every metric of every arm, one row each: arm, metric, value, low, high, missing.

    The last is the line about the file without which there is no value. The real targets have no row where they would
    be compared with themselves.
    """
    known, lacking = suffixes(section), missing(section)
    _, first = np.unique([target for _, target in pairs], return_index=True)
    once = {name: values[np.sort(first)] for name, values in arms.get(REAL, {}).items()}
    rows = []
    for arm, observed in arms.items():
        evidence = Evidence(observed, arms[COPIED], once)
        for metric in METRICS:
            row = {"arm": arm, "metric": metric.full_name(known, len(pairs)), "missing": lacking.get(metric.needs, "")}
            if metric.needs in lacking:
                rows.append(row)
            elif metric.reads in observed and not (metric.sets and arm == REAL):
                rows.append(row | metric.measure(evidence)._asdict())
    return pd.DataFrame(rows, columns=_TABLE)


def _joined(parts: list[Arms]) -> Arms:
    return {arm: {name: np.concatenate([part[arm][name] for part in parts]) for name in observed}
            for arm, observed in parts[0].items()}  # fmt: skip


def _parts_folder(folder: Path, origin: dict[str, Any]) -> Path:
    return folder / ".parts" / origin["digest"][:16]


def _read_part(path: Path) -> Arms:
    arms: Arms = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            arm, _, name = key.partition("|")
            arms.setdefault(arm, {})[name] = arrays[key]
    return arms


def _rows(table: pd.DataFrame, system: str, seed: int, count: int) -> list[dict[str, Any]]:
    """For the manifest: values that are numbers, and how many pairs."""
    rows = []
    for arm, some in table.groupby("arm", sort=False):
        values = dict(zip(some["metric"], some["value"], strict=True)) | {"pairs": float(count)}
        origin = {"run": "quality", "arm": arm, "seed": seed if arm == system else 0}
        rows += [origin | {"metric": metric, "value": value} for metric, value in values.items() if np.isfinite(value)]
    return rows


def _per_pair(arms: Arms, pairs: list[Pair], system: str) -> pd.DataFrame:
    """One line a pair: the generator's scores, and under ``copied_`` those of the source handed back."""
    columns = {prefix + name: values for arm, prefix in ((system, ""), (COPIED, "copied_"))
               for name, values in arms[arm].items() if values.ndim == 1}  # fmt: skip
    return pd.DataFrame(pairs, columns=["from", "to"]).assign(**columns)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as file:
        file.write(table.to_csv(index=False, float_format="%.6f").encode())
