"""The comparison of arms: one network trained on different batches, for several seeds, evaluated on the same images."""

import csv
import io
import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augment.base.devices import cpu_threads, pick_device
from augment.base.errors import AugmentError
from augment.base.files import atomic_write, sha256_bytes
from augment.base.progress import sent_to_parent, show_sent
from augment.base.randomness import RANDOM_STATE
from augment.base.seals import read_sealed_json, sealed_json
from augment.config import ArmConfig, Config, ReidConfig
from augment.gan.cost import image_size
from augment.manifest import Manifest, file_problem
from augment.reid.arms import composition, settings_of_arms, uses_synthetic
from augment.reid.batches import Batches
from augment.reid.dataset import REAL, SYNTHETIC, ReidData, read_data
from augment.reid.features import extract_features
from augment.reid.metric_learning import FIXED, LEARNED, check_pairs, learn, unit_length
from augment.reid.training import VERSION, trained_model, training_origin
from augment.retrieval.evaluation import rank
from augment.retrieval.networks import SECONDS_PER_IMAGE, check_model, check_network
from augment.retrieval.weights import weights_digest
from augment.stage import (
    Begun,
    Counts,
    Estimate,
    Spread,
    begun_shards,
    digest_of,
    finished,
    hashes_of,
    one_by_one,
    provenance,
    run_shards,
)

_STRIPS, _STRIP_LENGTH = 12, 10  # queries in the report, and ranked images of each
_BYTES_PER_RUN = 110 * 2**20  # weights, and the training state, which is deleted afterwards
_MEMORY_PER_IMAGE = 90e6  # of a 256x128 image in a batch of resnet50, the largest

_to_parent: Connection  # of a child process


def identity(
    section: ReidConfig, images: Manifest, synthetic: Manifest, poses: Manifest, folder: Path
) -> dict[str, Any]:
    """See augment/stage.py."""
    inputs = {"images": images, "synthetic": synthetic, "poses": poses}
    return provenance("reid", VERSION, section, inputs | named_files(section))


def named_files(section: ReidConfig) -> dict[str, str]:
    """See augment/stage.py."""
    check_model(section.model)
    settings_of_arms(section)
    return {} if section.start is None else {"start": weights_digest(section.start, "reid.start")}


def begun(folder: Path, origin: dict[str, Any]) -> Begun:
    """See augment/stage.py; counts trainings."""
    asked = _asked(origin, ReidConfig.model_validate(origin["section"]))
    known = sum(_known_result(folder, run, "asked", digest) is not None for run, digest in asked.items())
    if known == len(asked):
        return Begun(known, complete=True, why="trained before")
    interrupted = begun_shards(folder, origin, id_column="run")
    return interrupted if interrupted.units >= known else Begun(known, why="others were trained before")


def _asked(origin: dict[str, Any], section: ReidConfig) -> dict[str, str]:
    """Run -> a digest of all that its figures may depend on, by the settings and the tables."""
    settings = {key: value for key, value in origin["section"].items() if key not in ("arms", "seeds", "lengths")}
    found = {}
    for name, arm in settings_of_arms(section).items():
        not_used = () if uses_synthetic(arm) else ("synthetic", "poses")
        inputs = {key: value for key, value in origin["inputs"].items() if key not in not_used}
        of_arm = {"version": VERSION, "section": settings, "arm": arm.identity(), "inputs": inputs}
        found |= {f"{name}-s{seed}": digest_of({**of_arm, "seed": seed}) for seed in section.seeds}
    return found


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    reid = config.reid
    arms = settings_of_arms(reid).values()
    runs = len(arms) * len(reid.seeds)
    images = sum(sum(composition(arm, i)) for arm in arms for i in range(arm.iterations))
    amount = f"{runs} trainings on {images / len(arms):,.0f} images each ({reid.model})"
    per_image = SECONDS_PER_IMAGE.get(reid.model)
    area = reid.height * reid.width / (256 * 128)
    seconds = None if per_image is None else images * len(reid.seeds) * per_image * area
    return Estimate(amount, runs, runs * _BYTES_PER_RUN, seconds, on_gpu=True, memory=_memory(config, counts))


def _memory(config: Config, counts: Counts) -> float:
    """Bytes at once on the CPU: training images decoded, one batch, the distances of queries to the gallery."""
    reid = config.reid
    arms = settings_of_arms(reid).values()
    height, width = image_size(config)
    per_source = 1 + config.synthesis.poses_per_image if any(map(uses_synthetic, arms)) else 1
    images = 3 * height * width * counts.splits.get("train", 0) * per_source
    batch = max(sum(composition(arm, 0)) for arm in arms) * _MEMORY_PER_IMAGE * reid.height * reid.width / (256 * 128)
    query, gallery = counts.splits.get("query", 0), counts.splits.get("gallery", 0)
    distances = 3 * 8 * query * gallery + 12 * (query + gallery) ** 2 * ("reranked" in reid.distances)
    return images + batch + distances


def compare_arms(
    section: ReidConfig, images: Manifest, synthetic: Manifest, poses: Manifest, folder: Path, *,
    spread: Spread = one_by_one,
) -> Manifest:  # fmt: skip
    """Train and test every (arm, seed); returns the table of metrics ``folder/metrics.parquet``.

    The rows of run ``<arm>-s<seed>``: rank1, rank5, rank10, rank20, mAP, mAP_trapezoid, mINP in 0..1 (of the first
    of ``section.distances``; with ``_<distance>`` appended, of the others), queries, train_real, train_synthetic
    (images) and iterations. Beside the table each run leaves its weights, its training curve, ``<run>.json`` (its
    metrics and each query's average precision: a run that did not change is not tested again) and
    ``retrieval-<run>.csv`` with the first answers to some queries, the same ones in every run.
    """
    pick_device(section.device)
    origin = identity(section, images, synthetic, poses, Path(folder))
    if (done := finished(Path(folder) / "metrics.parquet", origin)) is not None:
        return done
    check_network(section.model, (section.height, section.width))
    arms = settings_of_arms(section)
    for arm in arms.values():  # fails before the first training rather than after it
        train = _data(arm, images, synthetic, poses).train
        Batches(train, arm, section, seed=0)
        if set(section.distances) & set(LEARNED):
            check_pairs(np.array([item[1] for item in train if item[3] == REAL]))
    runs = {f"{name}-s{seed}": (name, seed) for name in arms for seed in section.seeds}
    tables = tuple(Manifest(table.path) for table in (images, synthetic, poses))
    if section.start is not None:  # a worker of a cluster has another working directory
        section = section.model_copy(update={"start": os.path.abspath(section.start)})
    work = partial(_run, runs=runs, arms=arms, section=section, tables=tables, asked=_asked(origin, section))
    return run_shards(
        "metrics", Path(folder) / "metrics.parquet", origin, list(runs), work, id_column="run", spread=spread,
        shard_size=1, unit="runs", files=_files_of,
    )  # fmt: skip


def _files_of(run: str) -> list[str]:
    """What the report and the comparison of arms read of a run, beside the table."""
    return [f"{run}.json", f"training-{run}.csv", f"retrieval-{run}.csv"]


def _data(arm: ArmConfig, images: Manifest, synthetic: Manifest, poses: Manifest) -> ReidData:
    return read_data(images, synthetic if uses_synthetic(arm) else None, arm.images, poses, arm.poses)


def _run(
    ids: list[str], *, folder: Path, runs: dict[str, tuple[str, int]], arms: dict[str, ArmConfig],
    section: ReidConfig, tables: tuple[Manifest, Manifest, Manifest], asked: dict[str, str],
) -> list[dict]:  # fmt: skip
    rows = []
    for run in ids:
        name, seed = runs[run]
        data = _data(arms[name], *tables)
        metrics = _alone(section.threads, train_and_test, run, seed, section, arms[name], data, folder, asked[run])
        rows += [{"run": run, "arm": name, "seed": seed, "metric": metric, "value": float(value)}
                 for metric, value in metrics.items()]  # fmt: skip
    return rows


def _alone(threads: int | None, function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Call it here, or in a new process while another thread holds the random state: trainings run in parallel."""
    if RANDOM_STATE.acquire(blocking=False):
        try:
            with cpu_threads(threads):
                return function(*arguments)
        finally:
            RANDOM_STATE.release()
    context = multiprocessing.get_context("spawn")
    threads = threads or torch.get_num_threads()
    received, sent = context.Pipe(duplex=False)
    with received, ProcessPoolExecutor(1, context, initializer=_begin_child, initargs=(threads, sent)) as pool:
        result = pool.submit(_in_child, function, *arguments)
        sent.close()  # the child has it now
        show_sent(received)
        return result.result()


def _begin_child(threads: int, parents: Connection) -> None:
    """As many threads as in the parent, for the same rounding; the process exits when the parent does, even killed."""
    global _to_parent
    _to_parent = parents
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _in_child(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with sent_to_parent(_to_parent):
        return function(*arguments)


def train_and_test(
    run: str, seed: int, section: ReidConfig, arm: ArmConfig, data: ReidData, folder: Path, asked: str = ""
) -> dict[str, float]:
    """One run, its files written to ``folder``, and ``asked`` (:func:`_asked`); returns its metrics by name."""
    test = zip(data.query_ids + data.gallery_ids, data.query + data.gallery, data.test_content, strict=True)
    tested = [[id, *item[1:], sha256] for id, item, sha256 in test]
    origin = [training_origin(section, arm, data, seed)["digest"], section.distances, tested]
    digest = sha256_bytes(json.dumps(origin).encode())
    result_file, *side_files = _files_of(run)
    if (known := _known_result(folder, run, "digest", digest)) is not None:
        return known["metrics"]
    device = pick_device(section.device)
    model = trained_model(run, seed, section, arm, data, device, folder)
    metrics, queries = _test(model, run, section, data, device, folder)
    metrics |= {
        "train_real": data.count(REAL), "train_synthetic": data.count(SYNTHETIC), "iterations": arm.iterations
    }  # fmt: skip
    files = hashes_of(folder, side_files)
    result = {"digest": digest, "asked": asked, "metrics": metrics, "queries": queries, "files": files}
    with atomic_write(folder / result_file) as file:
        file.write(sealed_json(result).encode())
    return metrics


def _known_result(folder: Path, run: str, key: str, digest: str) -> dict[str, Any] | None:
    """What a run left, if it has this digest and all its files are unchanged."""
    try:
        result = read_sealed_json((folder / _files_of(run)[0]).read_bytes())
        files = result["files"].items() if result[key] == digest else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None if files is None or any(file_problem(folder, *file) for file in files) else result


def _test(
    model: torch.nn.Module, run: str, section: ReidConfig, data: ReidData, device: torch.device, folder: Path
) -> tuple[dict[str, float], dict[str, list]]:
    """Metrics by name, and id, pid and average_precision of the queries that have a correct match."""
    size = section.height, section.width
    query, gallery = (
        extract_features(model, getattr(data, split), size, device, f"{run} {split}", section.precision)
        for split in ("query", "gallery")
    )
    real = [item for item in data.train if item[3] == REAL]
    train = None
    if set(section.distances) & set(LEARNED):  # fitted on real images only
        train = unit_length(extract_features(model, real, size, device, f"{run} train", section.precision))
    real_pids, real_camids = (np.array([item[column] for item in real]) for column in (1, 2))
    labels = [np.array([item[column] for item in part]) for column in (1, 2) for part in (data.query, data.gallery)]
    metrics: dict[str, float] = {}
    queries: dict[str, list] = {}
    for place, name in enumerate(section.distances):
        if name in LEARNED:
            projection = learn(name, train, real_pids, real_camids)
            distances = projection.distances(unit_length(query), unit_length(gallery))
        else:
            distances = FIXED[name](query, gallery)
        if not np.isfinite(distances).all():
            raise AugmentError(f"{run}: {name} distances are not finite: the network has diverged. Lower "
                               "reid.learning_rate.")  # fmt: skip
        ranking = rank(distances, *labels)
        suffix = f"_{name}" if place else ""
        metrics |= {metric + suffix: value for metric, value in ranking.as_metrics().items()}
        if place == 0:
            metrics["queries"] = ranking.queries
            answered = ~np.isnan(ranking.average_precision)
            queries = {
                "id": np.array(data.query_ids)[answered].tolist(), "pid": labels[0][answered].tolist(),
                "average_precision": ranking.average_precision[answered].round(6).tolist(),
            }  # fmt: skip
            _write_retrieval(folder / f"retrieval-{run}.csv", distances, data)
    return metrics, queries


def _write_retrieval(path: Path, distances: np.ndarray, data: ReidData) -> None:
    """Columns query, rank, gallery, right, distance: the top of the ranking of a few queries of different people.

    The choice of queries depends on the data alone, so that the rankings of two arms can be compared.
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
