"""Arms side by side: the same training on real images alone and with synthetic ones, for several seeds."""

import csv
import io
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augment.base.devices import pick_device
from augment.base.files import atomic_write
from augment.config import Config, ReidConfig
from augment.manifest import Manifest
from augment.reid.batches import Batches
from augment.reid.dataset import REAL, SYNTHETIC, ReidData, read_data
from augment.reid.features import extract_features
from augment.reid.metric_learning import FIXED, LEARNED, unit_length
from augment.reid.training import VERSION, ReidDataManager, trained_model
from augment.retrieval.evaluation import rank
from augment.retrieval.networks import check_model
from augment.retrieval.weights import weights_digest
from augment.stage import Begun, Counts, Estimate, Spread, begun_shards, one_by_one, provenance, run_shards

_STRIPS, _STRIP_LENGTH = 12, 10  # queries shown in the report, and answers to each
# Of one 256x128 image in one iteration on two cores, from the networks' arithmetic.
_SECONDS_PER_IMAGE = {
    "resnet50": 0.12, "resnet50_fc512": 0.12, "osnet_x0_25": 0.03, "osnet_x0_5": 0.05, "osnet_x1_0": 0.12,
}  # fmt: skip
_BYTES_PER_RUN = 110 * 2**20  # weights, and the state that goes when they are there
_one_at_a_time = threading.Lock()  # torch's and Python's random state belong to the process


def identity(section: ReidConfig, images: Manifest, synthetic: Manifest, folder: Path) -> dict[str, Any]:
    """See augment/stage.py."""
    check_model(section.model)
    inputs: dict[str, Manifest | str] = {"images": images, "synthetic": synthetic}
    if section.start is not None:
        inputs["start"] = weights_digest(section.start, "reid.start")
    return provenance("reid", VERSION, section, inputs)


def begun(folder: Path, origin: dict[str, Any]) -> Begun:
    """See augment/stage.py; counts trainings."""
    return begun_shards(folder, origin, id_column="run")


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    reid = config.reid
    runs = len(reid.arms) * len(reid.seeds)
    amount = f"{runs} trainings of {reid.iterations:,} iterations of {reid.batch_size} ({reid.model})"
    per_image = _SECONDS_PER_IMAGE.get(reid.model)
    area = reid.height * reid.width / (256 * 128)
    seconds = None if per_image is None else runs * reid.iterations * reid.batch_size * per_image * area
    return Estimate(amount, runs, runs * _BYTES_PER_RUN, seconds, on_gpu=True)


def compare_arms(
    section: ReidConfig, images: Manifest, synthetic: Manifest, folder: Path, *, spread: Spread = one_by_one
) -> Manifest:
    """Train and test every (arm, seed); returns the table of metrics ``folder/metrics.parquet``.

    The rows of run ``<arm>-s<seed>``: rank1, rank5, rank10, rank20, mAP, mAP_trapezoid, mINP in 0..1 (of the first
    of ``section.distances``; with ``_<distance>`` appended, of the others), queries, train_real, train_synthetic
    (images) and iterations. Beside the table each run leaves its weights, its training curve, and
    ``retrieval-<run>.csv`` with the first answers to some queries, the same ones in every run.
    """
    pick_device(section.device)
    arms = {arm: read_data(images, synthetic if arm == "augmented" else None) for arm in section.arms}
    for data in arms.values():
        Batches(data.train, section, seed=0)  # refuses what cannot be trained before anything is
    runs = {f"{arm}-s{seed}": (arm, seed) for arm in section.arms for seed in section.seeds}
    origin = identity(section, images, synthetic, Path(folder))
    work = partial(_run, runs=runs, section=section, images=Manifest(images.path), synthetic=Manifest(synthetic.path))
    return run_shards(
        "metrics", Path(folder) / "metrics.parquet", origin, list(runs), work, id_column="run", spread=spread,
        shard_size=1, unit="runs",
    )  # fmt: skip


def _run(
    ids: list[str], *, folder: Path, runs: dict[str, tuple[str, int]], section: ReidConfig, images: Manifest,
    synthetic: Manifest,
) -> list[dict]:  # fmt: skip
    rows = []
    for run in ids:
        arm, seed = runs[run]
        data = read_data(images, synthetic if arm == "augmented" else None)
        with _one_at_a_time:
            figures = train_and_test(run, seed, section, data, folder)
        rows += [{"run": run, "arm": arm, "seed": seed, "metric": name, "value": float(value)}
                 for name, value in figures.items()]  # fmt: skip
    return rows


def train_and_test(run: str, seed: int, section: ReidConfig, data: ReidData, folder: Path) -> dict[str, float]:
    """One run, its files written to ``folder``; returns its figures by name."""
    device = pick_device(section.device)
    if device.index is not None:
        torch.cuda.set_device(device)  # torchreid's engine sends batches to the current one
    manager = ReidDataManager(data, section, device)
    model = trained_model(run, seed, section, data, manager, device, folder)

    def features(split: str) -> np.ndarray:
        return extract_features(model, manager.test_set(split), device, f"{run} {split}")

    query, gallery = features("query"), features("gallery")
    train = features("train") if set(section.distances) & set(LEARNED) else None
    labels = [np.array([item[column] for item in part]) for column in (1, 2) for part in (data.query, data.gallery)]
    figures: dict[str, float] = {}
    for place, name in enumerate(section.distances):
        distances = _distances(name, query, gallery, train, data)
        ranking = rank(distances, *labels)
        suffix = f"_{name}" if place else ""
        figures |= {metric + suffix: value for metric, value in ranking.as_metrics().items()}
        if place == 0:
            figures["queries"] = ranking.queries
            _write_retrieval(folder / f"retrieval-{run}.csv", distances, data)
    return figures | {
        "train_real": data.count(REAL),
        "train_synthetic": data.count(SYNTHETIC),
        "iterations": section.iterations,
    }


def _distances(
    name: str, query: np.ndarray, gallery: np.ndarray, train: np.ndarray | None, data: ReidData
) -> np.ndarray:
    if name in FIXED:
        return FIXED[name](query, gallery)
    pids, camids = (np.array([item[column] for item in data.train]) for column in (1, 2))
    return LEARNED[name](unit_length(train), pids, camids).distances(unit_length(query), unit_length(gallery))


def _write_retrieval(path: Path, distances: np.ndarray, data: ReidData) -> None:
    """Columns query, rank, gallery, right, distance: the first answers to a few queries of different people.

    Which queries depends on the data alone, so that the strips of two arms can be laid side by side.
    """
    query_pids, query_camids = (np.array([item[column] for item in data.query]) for column in (1, 2))
    gallery_pids, gallery_camids = (np.array([item[column] for item in data.gallery]) for column in (1, 2))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["query", "rank", "gallery", "right", "distance"])
    shown: set[int] = set()
    for q in np.random.default_rng(0).permutation(len(query_pids)):
        same_person = gallery_pids == query_pids[q]
        same_camera = gallery_camids == query_camids[q]
        if query_pids[q] in shown or not (same_person & ~same_camera).any():
            continue
        shown.add(query_pids[q])
        listed = np.flatnonzero(~(same_person & same_camera))
        best = listed[np.argsort(distances[q, listed], kind="stable")[:_STRIP_LENGTH]]
        for place, g in enumerate(best, 1):
            row = data.query_ids[q], place, data.gallery_ids[g], int(same_person[g]), f"{distances[q, g]:.6f}"
            writer.writerow(row)
        if len(shown) == _STRIPS:
            break
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
