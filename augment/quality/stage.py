"""The quality stage: metrics of generated images of the test pairs, with the unchanged source as lower bound."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from augment.base.devices import pick_device
from augment.base.files import atomic_write, remove_folder
from augment.base.interrupt import stop_if_asked
from augment.base.intervals import ValueWithInterval
from augment.base.progress import progress, say
from augment.base.seals import is_whole, sealed_write
from augment.base.terminal import spreadsheet_cell
from augment.config import Config, QualityConfig
from augment.gan.checkpoints import read_header
from augment.gan.cost import generation_seconds
from augment.gan.inference import BatchedGenerator, last_weights
from augment.manifest import Manifest, write_manifest
from augment.quality.arms import COPIED, REAL, Arms, generator_digests, other_generators
from augment.quality.examples import Load, write_examples
from augment.quality.identity import Gallery, IdentityFeatures, read_gallery, retrieve
from augment.quality.networks import NETWORKS, digests, missing, open_networks, suffixes
from augment.quality.observations import Batch, Observe
from augment.quality.pictures import Pair, PairPictures, choose_pairs, generated_targets, load_pairs
from augment.quality.precomputed import PrecomputedImages
from augment.quality.registry import METRICS, Evidence, metrics_of
from augment.quality.scores import PER_PAIR, PERFECT, body_masks, pair_scores
from augment.quality.statistics import Sample
from augment.retrieval.evaluation import NoValidQuery
from augment.stage import Begun, Counts, Estimate, Share, finished, hashes_of, provenance

Draw = Callable[[list[Pair], PairPictures], Tensor]  # an arm's images of some pairs, uint8 (B, 3, H, W), on the CPU

PER_PAIR_FILE, TABLE_FILE = "per_pair.csv", "table.csv"

_VERSION = 5
_PAIRS_PER_PART = 1000  # the most that a killed run loses; no effect on the result
_TABLE = ["arm", "metric", "value", "low", "high", "difference", "difference_low", "difference_high", "missing"]
_DIFFERENCE = _TABLE[5:8]
_SCORES_SECONDS = 0.01  # per image, with its share of reading images and rasterising masks; one thread


def identity(
    section: QualityConfig, images: Manifest, poses: Manifest, pairs: Manifest, checkpoints: Manifest, folder: Path
) -> dict[str, Any]:
    """See augment/stage.py."""
    inputs = {"images": images, "poses": poses, "pairs": pairs, "checkpoints": checkpoints}
    return provenance("quality", _VERSION, section, inputs | named_files(section))


def named_files(section: QualityConfig) -> dict[str, str]:
    """See augment/stage.py."""
    return digests(section) | generator_digests(section)


def begun(folder: Path, origin: dict[str, Any]) -> Begun:
    """See augment/stage.py; counts pairs."""
    parts = _parts_folder(folder, origin).glob("*.npz")
    return Begun(sum(len(_read_part(part)[COPIED]["ssim_255"]) for part in parts if is_whole(part)))


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    total = min(counts.test_pairs, config.quality.pairs)
    others = sum(images for split, images in counts.splits.items() if split != "train" and split in config.pose.splits)
    shares = _shares(config, total, others)
    seconds = 5 + sum(share.seconds for share in shares)
    return Estimate(f"{counts.limit}{total:,} test pairs", total, total * 100 + 5 * 2**20, seconds, on_gpu=True,
                    shares=shares)  # fmt: skip


def _shares(config: Config, pairs: int, gallery: int) -> tuple[Share, ...]:
    """The time that each generator and each metric network takes; OSNet sees the gallery, too."""
    section = config.quality
    widths = {"the run's generator": config.gan.width}
    others = other_generators(section, config.gan.system)
    for name, found in others.items():
        if not isinstance(found, PrecomputedImages):
            widths[name] = read_header(found)["config"]["width"]
    drawn = [Share(name, pairs, generation_seconds(config, width)) for name, width in widths.items()]
    images = pairs * (1 + len(others) + 2)  # the sources and the targets too
    judges = [
        Share(network.name, images + gallery * (network.name == "osnet"), network.seconds)
        for network in NETWORKS
        if network.file(section) is not None
    ]
    return (*drawn, Share("SSIM, PSNR, L1", images - pairs, _SCORES_SECONDS), *judges)


def measure_quality(
    section: QualityConfig, images: Manifest, poses: Manifest, pairs: Manifest, checkpoints: Manifest, folder: Path
) -> Manifest:
    """Score the last checkpoint's averaged weights on the test pairs (Sec. 6). Returns the table of metrics.

    Beside it lie ``table.csv`` with every metric of every arm, its interval, its paired difference to the run's own
    generator, and what is missing for those that have no value; ``per_pair.csv`` with every pair's scores; and
    ``examples/`` with strips (source, its pose, target pose, target, generated) of the best, typical and worst by
    ``ssim_released``, listed in ``examples.csv``. Without test pairs the table is empty. Raises :class:`AugmentError`
    where there is no checkpoint, a file of weights holds others, or a generator makes images of another size.
    """
    folder = Path(folder)
    path = folder / "metrics.parquet"
    origin = identity(section, images, poses, pairs, checkpoints, folder)
    if (done := finished(path, origin)) is not None:
        remove_folder(folder / ".parts")  # where the disk refused it when the table was written
        return done

    chosen, left_out = choose_pairs(images, poses, pairs, section.pairs)
    if left_out:
        say(f"quality: {left_out} test pairs were left out: an image or a pose is missing.")
    if not chosen:
        say("quality: there are no test pairs, so nothing can be measured. Poses of the gallery make test pairs.")
        _write_csv(folder / TABLE_FILE, pd.DataFrame(columns=_TABLE))
        _write_csv(folder / PER_PAIR_FILE, pd.DataFrame(columns=["from", "to", *PER_PAIR]))
        return write_manifest(path, "metrics", [], origin, hashes_of(folder, [TABLE_FILE, PER_PAIR_FILE]))
    if lacking := missing(section):
        titles = [title for network in lacking for title in metrics_of(network)]
        say(f"quality: {len(titles)} metrics need files of weights ({titles[0]}, ..., {titles[-1]}): `augment doctor "
            "CONFIG` lists the files.")  # fmt: skip

    device = pick_device(section.device)
    generator = BatchedGenerator.load(last_weights(checkpoints)[0], device, section.batch_size)
    gan = generator.config
    draw: dict[str, Draw] = {gan.system: partial(_generate, generator)}
    seeds = {gan.system: gan.seed}
    for name, found in other_generators(section, gan.system).items():
        if isinstance(found, PrecomputedImages):
            found.check(chosen)
            draw[name] = partial(_read, found)
        else:
            other = BatchedGenerator.load(found, device, section.batch_size, size=generator.image_size)
            draw[name], seeds[name] = partial(_generate, other), other.config.seed
    networks = open_networks(section, device)
    parts = _parts_folder(folder, origin)

    def load(some: list[Pair]) -> PairPictures:
        return load_pairs(images, poses, some, generator.image_size)

    arms = _observe_all(chosen, load, draw, networks, parts, generator.batch_size, device)
    if "osnet" in networks:
        _retrieve_people(arms, chosen, _gallery(images, chosen, networks["osnet"], generator.image_size, parts))
    people = images.frame().set_index("id")["pid"].reindex([source for source, _ in chosen]).to_numpy()
    table = measure(arms, chosen, people, section)
    _write_csv(folder / TABLE_FILE, table)
    _write_csv(folder / PER_PAIR_FILE, _per_pair(arms, chosen))
    generate = partial(generated_targets, generator)
    examples = write_examples(folder, chosen, arms[gan.system]["ssim_released"], load, generate)
    manifest = write_manifest(path, "metrics", _rows(table, seeds, len(chosen)), origin,
                              hashes_of(folder, [TABLE_FILE, PER_PAIR_FILE, *examples]))  # fmt: skip
    remove_folder(folder / ".parts")
    return manifest


def _generate(generator: BatchedGenerator, pairs: list[Pair], pictures: PairPictures) -> Tensor:
    return generated_targets(generator, pictures)


def _read(folder: PrecomputedImages, pairs: list[Pair], pictures: PairPictures) -> Tensor:
    return folder.read(pairs, pictures.size)


def _observe_all(
    pairs: list[Pair], load: Load, draw: dict[str, Draw], networks: dict[str, Observe], parts: Path, at_once: int,
    device: torch.device,
) -> Arms:  # fmt: skip
    """Observations of all pairs, ``at_once`` in a batch; finished parts are kept in ``parts`` and reused."""
    found: list[Arms] = []
    with progress("quality", total=len(pairs), unit="pairs") as advance:
        for start in range(0, len(pairs), _PAIRS_PER_PART):
            some = pairs[start : start + _PAIRS_PER_PART]
            part = parts / f"{start:08d}.npz"
            if is_whole(part):
                found.append(_read_part(part))
                advance(len(some))
                continue
            pictures = load(some)
            batches = []
            for first in range(0, len(some), at_once):
                stop_if_asked()
                these = slice(first, first + at_once)
                batch = pictures.select(these)
                shown = {name: images(some[these], batch) for name, images in draw.items()}
                batches.append(_observe(batch, shown, networks, device))
                advance(len(batch))
            found.append(_joined(batches))
            with sealed_write(part) as file:
                np.savez(file, **{f"{arm}|{name}": values for arm, observed in found[-1].items()
                                  for name, values in observed.items()})  # fmt: skip
    return _joined(found)


def _observe(pictures: PairPictures, shown: dict[str, Tensor], networks: dict[str, Observe],
             device: torch.device) -> Arms:  # fmt: skip
    """``shown``: the generated images by arm, uint8 (B, 3, H, W)."""
    masks = body_masks(pictures.target_joints, pictures.size).to(device)
    targets = pictures.target.to(device)
    shown = shown | {COPIED: pictures.source, REAL: pictures.target}
    arms: Arms = {}
    for arm, images in shown.items():
        batch = Batch(images.to(device), targets, masks, pictures.target_joints)
        if arm == REAL:
            arms[arm] = {name: np.full(len(images), value) for name, value in PERFECT.items()}
        else:
            arms[arm] = pair_scores(batch.images, targets, masks)
        for observe in networks.values():
            arms[arm] |= observe(batch)
    return arms


def _gallery(
    images: Manifest, pairs: list[Pair], features: IdentityFeatures, size: tuple[int, int], parts: Path
) -> Gallery:
    """The real images of the test pairs' splits, kept in ``parts`` as the observations are."""
    file = parts / "gallery"
    if is_whole(file):
        with np.load(file, allow_pickle=False) as arrays:
            return Gallery(**arrays)
    splits = images.frame().set_index("id")["split"][list({id for pair in pairs for id in pair})].unique()
    gallery = read_gallery(images, splits, features.embedder, size)
    with sealed_write(file) as stream:
        np.savez(stream, **gallery._asdict())
    return gallery


def _retrieve_people(arms: Arms, pairs: list[Pair], gallery: Gallery) -> None:
    """Add the retrieval scores of each image as a query; the real target has its own camera."""
    sources, targets = zip(*pairs, strict=True)
    for arm, observed in arms.items():
        try:
            found = retrieve(observed["osnet"], targets if arm == REAL else sources, targets, gallery)
        except NoValidQuery as error:
            say(f"quality: {error}")
            return
        observed["identity_rank1"], observed["identity_average_precision"] = found


def measure(arms: Arms, pairs: list[Pair], people: np.ndarray, section: QualityConfig) -> pd.DataFrame:
    """Every metric of every arm, one row each: value and difference to the first arm with their intervals, missing.

    ``people``: who is in each pair (N,). ``missing`` names the weight file that the metric needs. The real targets have
    no row for distances between sets, where they would be compared with themselves.
    """
    known, lacking = suffixes(section), missing(section)
    _, once = np.unique([target for _, target in pairs], return_index=True)
    once = np.sort(once)
    targets = {name: values[once] for name, values in arms[REAL].items()}
    rows = []
    for metric in METRICS:
        first: Sample | None = None
        for arm, observed in arms.items():
            row = {"arm": arm, "metric": metric.full_name(known, len(pairs)), "missing": lacking.get(metric.needs, "")}
            if metric.needs in lacking:
                rows.append(row)
            elif metric.reads in observed and not (metric.sets and arm == REAL):
                sample = metric.measure(Evidence(observed, arms[COPIED], targets, people, people[once]))
                difference = ValueWithInterval(np.nan) if first is None else sample.minus(first).estimate()
                first = first or sample
                rows.append(row | sample.estimate()._asdict() | dict(zip(_DIFFERENCE, difference, strict=True)))
    table = pd.DataFrame(rows, columns=_TABLE)
    return table.sort_values("arm", key=lambda column: column.map(list(arms).index), kind="stable", ignore_index=True)


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


def _rows(table: pd.DataFrame, seeds: dict[str, int], count: int) -> list[dict[str, Any]]:
    """Rows of the manifest: the finite values, and the number of pairs."""
    rows = []
    for arm, some in table.groupby("arm", sort=False):
        values = dict(zip(some["metric"], some["value"], strict=True)) | {"pairs": float(count)}
        origin = {"run": "quality", "arm": arm, "seed": seeds.get(arm, 0)}
        rows += [origin | {"metric": metric, "value": value} for metric, value in values.items() if np.isfinite(value)]
    return rows


def _per_pair(arms: Arms, pairs: list[Pair]) -> pd.DataFrame:
    """One line per pair: the generator's scores; those of other generators, and of the unchanged source, with a prefix.

    The prefixes are ``NAME_`` and ``copied_``.
    """
    own, *others = (arm for arm in arms if arm not in (COPIED, REAL))
    prefixes = {own: "", COPIED: "copied_"} | {name: f"{name}_" for name in others}
    columns = {prefix + name: values for arm, prefix in prefixes.items()
               for name, values in arms[arm].items() if values.ndim == 1}  # fmt: skip
    return pd.DataFrame(pairs, columns=["from", "to"]).assign(**columns)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as file:
        safe = table.map(lambda value: spreadsheet_cell(value) if isinstance(value, str) else value)
        file.write(safe.to_csv(index=False, float_format="%.8g").encode())
