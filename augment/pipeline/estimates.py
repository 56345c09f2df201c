"""How much a run would make: counted from file listings and manifests, nothing is decoded; disk and time from rates.

Times come from the run's own ``timings.json`` where the stage ran before, scaled to the new amount of work, else from
the rates below, for two cores of a current server. There is no default rate for a GPU: none is guessed.
"""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from augment.config import Config, GanConfig
from augment.manifest import read_manifest
from augment.pipeline.stages import STAGES, Stage, stage_named

PIXELS = 128 * 64  # of the crops at which the rates were measured
_SIZES = {"market1501": (128, 64), "rendered": (128, 64), "deepfashion": (256, 256)}  # before any image is opened
MIB = 2**20

# Rows of a second on two cores.
RATES = {
    "render": 800.0, "images": 2500.0, "poses annotations": 20_000.0, "poses openpifpaf": 100.0, "pairs": 400_000.0,
    "quality": 25.0,
}  # fmt: skip
# Seconds on two cores: constant, and by width and width squared; of one image of a batch in one iteration. Half the CPU
# time measured at widths 0.25 and 0.5.
GAN_SECONDS = (0.015, 0.114, 0.232)
SYNTHESIS_SECONDS = (0.005, 0.034, 0.043)
# Seconds on two cores of one 256x128 image in one iteration of re-ID training, from the networks' arithmetic.
REID_SECONDS = {"resnet50": 0.12, "resnet50_fc512": 0.12, "osnet_x0_25": 0.03, "osnet_x0_5": 0.05, "osnet_x1_0": 0.12}
# Bytes
IMAGE_ROW, RENDERED_IMAGE, GENERATED_IMAGE, POSE_ROW, PAIR_ROW = 120, 4000, 4500, 450, 12
REID_RUN = 110 * MIB


@dataclass(frozen=True)
class Counts:
    """What the data set holds, as far as can be known before the stages have run."""

    splits: dict[str, int]  # images
    posed: int  # images in pose.splits
    sources: int  # training images that get synthetic ones
    train_pairs: int
    test_pairs: int
    exact: bool  # sources and pairs: False means "at most", the poses are not known yet


@dataclass(frozen=True)
class Estimate:
    """Of one stage: what in words, bytes it leaves, seconds it takes (None: unknown) and where that is known from."""

    amount: str
    disk: float
    seconds: float | None
    source: str


def count(config: Config, reusable: set[str]) -> Counts:
    """``reusable``: stages whose manifests count as they are."""
    run = config.folder.absolute()
    tables = {one.name: read_manifest(one.path(run)).table for one in STAGES if one.name in reusable}
    if "images" in tables:
        of_image = tables["images"].select(["id", "split", "pid"]).to_pylist()
        listed = [(row["id"], row["split"], row["pid"]) for row in of_image]
    else:
        listed = _listing(config, stage_named("images").path(run).parent)
    splits = Counter(split for _, split, _ in listed)
    posed = sum(splits[split] for split in config.pose.splits)
    if "poses" in tables:
        accepted = set(tables["poses"].filter(pc.field("accepted"))["id"].to_pylist())
        usable = [row for row in listed if row[0] in accepted]
    else:
        usable = [row for row in listed if row[1] in config.pose.splits and row[2] > 0]
    train, test = ([row for row in usable if (row[1] == "train") == wanted] for wanted in (True, False))
    pairs = [_ordered_pairs(train), min(_ordered_pairs(test), config.pairs.test_pairs)]
    if "pairs" in tables:
        of_pair = Counter(tables["pairs"]["split"].to_pylist())
        pairs = [of_pair["train"], of_pair["test"]]
    return Counts(dict(splits), posed, len(train), *pairs, exact="poses" in tables)


def _listing(config: Config, folder: Path) -> list[tuple[str, str, int]]:
    """id, split and pid of every image file, from names alone."""
    from augment.data.stage import dataset_root, list_images

    return [(one.id, one.split, one.name.pid) for one in list_images(config.data, dataset_root(config.data, folder))]


def _ordered_pairs(rows: list[tuple[str, str, int]]) -> int:
    return sum(n * (n - 1) for pid, n in Counter(pid for _, _, pid in rows).items() if pid > 0)


def estimate(stage: Stage, config: Config, counts: Counts, times: dict[str, Any], done: int) -> Estimate:
    """``times``: of the run's earlier stages; ``done``: what is there of this one already (rows or iterations)."""
    amount, rows, disk = _amount(stage.name, config, counts)
    identity = config.identity()
    work = _seconds(stage.name, identity, rows)
    source = "default rates"
    known = times.get(stage.name)
    if known is not None:
        before = _seconds(stage.name, known["config"], known["rows"])
        if work is None or before is None:
            same = known["config"][stage.section] == identity[stage.section] and known["rows"] == rows
            work = known["seconds"] if same else None
        else:
            work *= known["seconds"] / max(before, 1e-6)
        source = "this run's own times"
    elif work is not None and stage.name in ("gan", "synthetic", "quality", "reid") and _has_gpu():
        work, source = None, "no rate for this GPU yet"
    total = config.gan.iterations if stage.name == "gan" else rows
    if work is not None and total:
        work *= max(0.0, 1 - done / total)
    return Estimate(amount, disk, work, source if work is not None else "unknown")


def _amount(name: str, config: Config, counts: Counts) -> tuple[str, int, float]:
    """What in words, rows of the stage's table, bytes."""
    limit = "" if counts.exact else "at most "
    if name == "images":
        total = sum(counts.splits.values())
        parts = ", ".join(f"{counts.splits.get(split, 0):,} {split}" for split in ("train", "query", "gallery"))
        drawn = RENDERED_IMAGE if config.data.layout == "rendered" else 0
        return f"{total:,} images: {parts}", total, total * (IMAGE_ROW + drawn)
    if name == "poses":
        return f"{counts.posed:,} images ({', '.join(config.pose.splits)})", counts.posed, counts.posed * POSE_ROW
    if name == "pairs":
        total = counts.train_pairs + counts.test_pairs
        return f"{limit}{counts.train_pairs:,} for training, {counts.test_pairs:,} for testing", total, total * PAIR_ROW
    if name == "gan":
        gan = config.gan
        words = f"{gan.iterations:,} iterations of {gan.batch_size} pairs ({gan.system}, width {gan.width:g})"
        return words, _kept_checkpoints(gan), _gan_bytes(config)
    if name == "synthetic":
        total = counts.sources * config.synthesis.poses_per_image
        return f"{limit}{total:,} images, {config.synthesis.poses_per_image} for each", total, total * GENERATED_IMAGE
    if name == "quality":
        total = min(counts.test_pairs, config.quality.pairs)
        return f"{limit}{total:,} test pairs", total, total * 100 + 5 * MIB
    reid = config.reid
    runs = len(reid.arms) * len(reid.seeds)
    words = f"{runs} trainings of {reid.iterations:,} iterations of {reid.batch_size} ({reid.model})"
    return words, runs, runs * REID_RUN


def _kept_checkpoints(gan: GanConfig) -> int:
    """Last, best and the steps that are kept, but no more than are made."""
    return min(gan.keep_checkpoints + 2, max(1, math.ceil(gan.iterations / gan.checkpoint_every)))


def _gan_bytes(config: Config) -> float:
    """Weights files hold raw and average; the one state holds both networks, their average and Adam's two moments."""
    import torch

    from augment.gan.networks import Discriminator, Generator
    from augment.gan.skeletons import HUMAN

    size = config.gan.image_size or _SIZES[config.data.layout]
    with torch.device("meta"):
        generator, discriminator = (
            4 * sum(one.numel() for one in network(config.gan, size, HUMAN).parameters())
            for network in (Generator, Discriminator)
        )
    weights = 2 * generator * (_kept_checkpoints(config.gan) + 1)  # one more while it is being written
    return weights + 2 * (4 * generator + 3 * discriminator)  # a state is written before the old one goes


def _seconds(name: str, config: dict[str, Any], rows: int) -> float | None:
    """At the default rates; None where there is none. ``config``: what ``Config.identity`` gives."""
    gan, reid = config["gan"], config["reid"]
    height, width = gan["image_size"] or _SIZES[config["data"]["layout"]]
    pixels = height * width / PIXELS
    if name == "images":
        drawn = 1 / RATES["render"] if config["data"]["layout"] == "rendered" else 0
        return rows * (1 / RATES["images"] + drawn)
    if name == "poses":
        return 5 + rows / RATES[f"poses {config['pose']['estimator']}"]
    if name == "gan":
        return gan["iterations"] * gan["batch_size"] * pixels * _by_width(GAN_SECONDS, gan["width"])
    if name == "synthetic":
        return rows * pixels * _by_width(SYNTHESIS_SECONDS, gan["width"])
    if name == "quality":
        return 5 + rows * (1 / RATES["quality"] + pixels * _by_width(SYNTHESIS_SECONDS, gan["width"]))
    if name == "reid":
        each = REID_SECONDS.get(reid["model"])
        if each is None:
            return None
        return rows * reid["iterations"] * reid["batch_size"] * each * reid["height"] * reid["width"] / (256 * 128)
    return 1 + rows / RATES[name]


def _by_width(coefficients: tuple[float, float, float], width: float) -> float:
    constant, linear, square = coefficients
    return constant + linear * width + square * width**2


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
