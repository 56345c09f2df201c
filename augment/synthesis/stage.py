"""Ten target poses for every training image, in bulk (App. C). Heat maps are made on the fly and never stored."""

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from augment.base.devices import pick_device
from augment.base.errors import AugmentError, Refused
from augment.base.files import atomic_write, is_regular_file, local, remove, sha256_bytes, sha256_file
from augment.base.images import encode_jpeg, read_image
from augment.base.memory import release_unused
from augment.base.progress import say
from augment.base.storage.addresses import is_copy
from augment.base.storage.copies import sizes
from augment.config import Config, SynthesisConfig
from augment.gan.cost import generation_seconds
from augment.gan.dataset import fit, scale_joints
from augment.gan.inference import BatchedGenerator, Inputs, last_weights
from augment.manifest import Manifest, joint_columns, verify, write_manifest
from augment.stage import (
    Begun,
    Counts,
    Estimate,
    ShardSize,
    Share,
    Spread,
    begun_shards,
    finished,
    hashes_of,
    made_under,
    one_by_one,
    provenance,
    readable,
    run_shards,
)
from augment.synthesis.containers import CONTAINERS, Image
from augment.synthesis.filtering import filtered, report_kept
from augment.synthesis.scoring import judges, score, scored, shares
from augment.synthesis.targets import find_sources, sample_poses

STAGE, VERSION = "synthetic", 1
TABLE, UNFILTERED = "synthetic.parquet", "unfiltered.parquet"
WRITERS = min(16, os.cpu_count() or 1)  # threads that encode and write while the next batch is generated
BESIDE = ("pid", "camid", "source", "pose_source", "pose_pid", "rank")  # said of an image in a tar or parquet file
OWN_POSE = "own pose"  # verdict of a source redrawn as it stands: no new image, so it is not kept
IN_CONTAINER = 1000  # images of a tar or parquet file: fixed, so that flow.shard_size does not change its content
BACKLOG = 4 * WRITERS  # parts of batches that may wait to be written before generating waits for them
_OWN_FILE = re.compile(r".*g(\d+|own)\.jpg|\d{6,}\.\w+")  # of the folder of images; others are a user's
_SCALED = 100_000  # poses at a time: the temporary arrays of a million take a gigabyte

_BYTES_PER_IMAGE = 4500


def identity(section: SynthesisConfig, images: Manifest, poses: Manifest, checkpoints: Manifest,
             folder: Path) -> dict[str, Any]:  # fmt: skip
    """See augment/stage.py."""
    drawing = _drawing(section, images, poses, checkpoints)
    if not section.filter.scores:
        return drawing
    origin = provenance(STAGE, VERSION, section, {**drawing["inputs"], **named_files(section)})
    return {**origin, "drawing": drawing["digest"]}


def named_files(section: SynthesisConfig) -> dict[str, str]:
    """See augment/stage.py."""
    return judges(section.filter)


def _drawing(section: SynthesisConfig, images: Manifest, poses: Manifest, checkpoints: Manifest) -> dict[str, Any]:
    """The provenance of the images alone, whatever the filter makes of them."""
    inputs = {"images": images, "poses": poses, "generator": last_weights(checkpoints)[1]}
    return provenance(STAGE, VERSION, section, inputs, without=("filter",))


def begun(folder: Path, origin: dict[str, Any]) -> Begun:
    """See augment/stage.py; counts images, and once more those that are scored for the filter."""
    drawing = {"digest": origin.get("drawing", origin["digest"])}
    drawn = made_under(folder / UNFILTERED, drawing) or made_under(folder / TABLE, drawing)
    if drawn is None:
        return begun_shards(folder, drawing)
    if not (damaged := verify(drawn)).empty:
        return Begun(drawn.num_rows - len(damaged), why="some of its files are missing or changed")
    to_score = pc.sum(drawn.columns("kept")["kept"]).as_py() if "drawing" in origin else 0
    done = min(scored(folder, drawn, origin), to_score) if to_score else 0
    if done == to_score:
        return Begun(drawn.num_rows + done, complete=True, why="generated before; only the filter is another")
    return Begun(drawn.num_rows + done, why="generated before; to be scored for the filter")


def estimate(config: Config, counts: Counts) -> Estimate:
    """See augment/stage.py."""
    each = config.synthesis.poses_per_image + config.synthesis.own_pose
    total = counts.sources * each
    drawing = Share("generator", total, generation_seconds(config))
    new = counts.sources * config.synthesis.poses_per_image  # those in their own pose are not scored
    scoring = shares(config.synthesis.filter, new, counts.splits.get("train", 0))
    units = total + (new if scoring else 0)
    return Estimate(f"{counts.limit}{total:,} images, {each} for each", units, total * _BYTES_PER_IMAGE,
                    sum(share.seconds for share in (drawing, *scoring)), on_gpu=True,
                    shares=(drawing, *scoring) if scoring else ())  # fmt: skip


def synthesize(section: SynthesisConfig, images: Manifest, poses: Manifest, checkpoints: Manifest, folder: Path, *,
               spread: Spread = one_by_one, shard_size: ShardSize = "auto") -> Manifest:  # fmt: skip
    """Generate every training person with an accepted pose (junk -1 and distractor 0000 aside) in other people's poses.

    Target poses are sampled from all such images, the source included as in the released code, without replacement and
    seeded by image. ``images/<source>g<rank>.jpg`` begins with the source's name, so that readers of Market-1501's
    names give it the source's identity and camera. An unreadable source gives a row with status "failed". With a filter
    all images are generated and scored (``unfiltered.parquet``, ``scores.parquet``), and those that fail are not kept.
    ``shard_size`` counts generated images, "auto" is a thousand. In the formats webdataset and parquet a file has a
    thousand images, and ``path`` has the position of each (:func:`augment.base.files.read_stored`). Raises
    :class:`AugmentError` where there is no source or no generator.
    """
    folder = Path(folder)
    shard_size = IN_CONTAINER if shard_size == "auto" else shard_size
    origin = identity(section, images, poses, checkpoints, folder)
    if not section.filter.scores:
        return _draw(section, images, poses, checkpoints, folder / TABLE, spread, shard_size)
    if (done := finished(folder / TABLE, origin)) is not None:
        return done
    drawn = _draw(section, images, poses, checkpoints, folder / UNFILTERED, spread, shard_size)
    scores = score(section, drawn, images, poses, folder, spread=spread, shard_size=shard_size)
    rows = filtered(drawn.frame(), scores.frame(), section.filter)
    report_kept(rows)
    return write_manifest(folder / TABLE, STAGE, rows, origin, hashes_of(folder, [scores.path.name]))


def _draw(section: SynthesisConfig, images: Manifest, poses: Manifest, checkpoints: Manifest, path: Path,
          spread: Spread, shard_size: int) -> Manifest:  # fmt: skip
    """The table ``path`` with all images drawn; what a run with or without a filter has drawn is taken over."""
    folder = path.parent
    weights, checkpoint = last_weights(checkpoints)
    origin = _drawing(section, images, poses, checkpoints)
    other = folder / (TABLE if path.name == UNFILTERED else UNFILTERED)
    for manifest in readable([other] if other.exists() else []):
        if manifest.provenance["digest"] == origin["digest"] and made_under(path, origin) is None:
            with atomic_write(path) as file:
                file.write(other.read_bytes())
    sources = find_sources(images, poses)
    of_train = pc.sum(pc.equal(images.columns("split")["split"], "train")).as_py()
    if not len(sources):
        raise AugmentError(f"{poses.path}: no training image has an accepted pose, so there is nothing to generate.")
    if len(sources) < of_train:
        lacking = of_train - len(sources)
        say(f"{STAGE}: {lacking} of {of_train} training images are not used as sources (no accepted pose, "
            "unreadable, or junk).")  # fmt: skip
    as_files = section.format == "files"
    per_shard = max(1, (shard_size if as_files else IN_CONTAINER) // section.poses_per_image)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    work = partial(_generate_shard, section=section, images=images.path, poses=poses.path,
                   weights=weights, checkpoint=checkpoint, per_shard=per_shard)  # fmt: skip
    try:
        drawn = run_shards(STAGE, path, origin, list(sources["id"]), work, id_column="source", spread=spread,
                           shard_size=per_shard, whole=not as_files)  # fmt: skip
    finally:
        _generator.cache_clear()
        _pool.cache_clear()
    _remove_others(folder / "images", drawn)
    return drawn


def _remove_others(folder: Path, drawn: Manifest) -> None:
    """Delete the images that earlier settings left: programs that read the folder itself would train on them."""
    drawn_here = {path.partition("#")[0].rpartition("/")[2] for path in drawn.columns("path")["path"].to_pylist()}
    for name in list(sizes(folder)) if is_copy(folder) else os.listdir(folder):
        if name not in drawn_here and _OWN_FILE.fullmatch(name):
            remove(folder / name)


class _Job(NamedTuple):
    """One image to generate: positions among the sources."""

    source: int
    pose: int
    rank: int | None  # None: the source's own pose, besides those that were drawn


@dataclass(frozen=True)
class _Pool:
    """All sources in the order of their ids. Lists: a cell of a data frame costs as much as encoding an image."""

    ids: list[str]
    folder: Path
    paths: list[str]  # of the files, relative to the folder
    pids: list[int]
    camids: list[int]
    joints: Tensor  # (N, 18, 2) in pixels of the generator's images, on its device
    positions: dict[str, int]  # of the ids


def _generate_shard(ids: Sequence[str], *, folder: Path, section: SynthesisConfig, images: Path, poses: Path,
                    weights: Path, checkpoint: str, per_shard: int) -> list[dict[str, Any]]:  # fmt: skip
    """The rows of some sources, after their images were written to ``folder/images``."""
    generator = _generator(weights, checkpoint, section)
    size = generator.image_size
    pool = _pool(images, poses, _times(images, poses), size, generator.device)
    row = partial(_row, pool, section, checkpoint)
    rows: list[dict[str, Any]] = []
    jobs: list[_Job] = []
    pixels: dict[int, np.ndarray] = {}
    with ThreadPoolExecutor(WRITERS) as threads:
        positions = [pool.positions[id] for id in ids]
        files = [pool.folder / pool.paths[position] for position in positions]
        decoded = threads.map(partial(_decode, size=size), files)
        for position, image in zip(positions, decoded, strict=True):
            if isinstance(image, str):
                rows.append(row(position, reason=image))
                continue
            pixels[position] = image
            sampled = sample_poses(pool.ids[position], section.poses_per_image, len(pool.ids), section.seed)
            jobs += [_Job(position, pose, rank) for rank, pose in enumerate(sampled.tolist())]
            jobs += [_Job(position, position, None)] if section.own_pose else []
        written: list[Future[list[tuple[str, bytes]]]] = []
        start = 0
        for batch in generator.batches(len(jobs), _inputs(jobs, pixels, pool.joints)):
            each = -(-len(batch) // WRITERS)
            for first in range(0, len(batch), each):
                part = jobs[start + first : start + first + each]
                files = [folder / _file(pool, job) for job in part] if section.format == "files" else None
                written.append(threads.submit(_write, files, batch[first : first + each], section.jpeg_quality))
            start += len(batch)
            if len(written) > BACKLOG:
                written[-BACKLOG].result()
        made = [image for future in written for image in future.result()]
    rows += [row(job.source, job=job, size=size, sha256=sha256) for job, (sha256, _) in zip(jobs, made, strict=True)]
    if section.format != "files" and jobs:
        _contain(folder, section.format, positions[0] // per_shard, rows[-len(jobs) :], [jpeg for _, jpeg in made])
    return rows


def _contain(folder: Path, format: str, number: int, rows: list[dict[str, Any]], jpegs: list[bytes]) -> None:
    """Write the images of a shard to one file, and into their rows where they lie in it."""
    ending, write = CONTAINERS[format]
    path = f"images/{number:06d}.{ending}"
    images = [
        Image(row["id"].rpartition("/")[2], jpeg, {name: row[name] for name in BESIDE})
        for row, jpeg in zip(rows, jpegs, strict=True)
    ]
    for row, (start, size) in zip(rows, write(folder / path, images), strict=True):
        row["path"] = f"{path}#{start}+{size}"


def _inputs(jobs: list[_Job], pixels: dict[int, np.ndarray], joints: Tensor) -> Callable[[Tensor], Inputs]:
    """What :meth:`BatchedGenerator.batches` asks for, all of it on the device of ``joints`` beforehand."""
    rows = {source: row for row, source in enumerate(pixels)}
    table = torch.tensor([(rows[job.source], job.source, job.pose) for job in jobs], device=joints.device)
    sources = torch.from_numpy(np.stack(list(pixels.values()))).to(joints.device) if pixels else None

    def gather(index: Tensor) -> Inputs:
        row, source, pose = table[index].unbind(1)
        return sources[row], joints[source], joints[pose]

    return gather


@lru_cache(maxsize=1)  # shards of one process share it
def _generator(weights: Path, checkpoint: str, section: SynthesisConfig) -> BatchedGenerator:
    device = pick_device(section.device)
    if is_regular_file(weights) and sha256_file(weights) != checkpoint:
        raise AugmentError(f"{weights}: is not the file that the checkpoints manifest names (its hash differs). "
                           "Restore it, or train again.")  # fmt: skip
    compiled = section.compile and device.type == "cuda"
    if section.compile and not compiled:
        say(f"synthesis.compile needs CUDA and has no effect on this {device.type}.")
    return BatchedGenerator.load(weights, device, _batch_size(section, device), which=section.weights,
                                 precision=section.precision, compile=compiled)  # fmt: skip


@lru_cache(maxsize=1)
def _pool(images: Path, poses: Path, times: tuple[int, int], size: tuple[int, int], device: torch.device) -> _Pool:
    """All sources. ``times`` tell these tables from earlier ones of the same names."""
    table, posed = Manifest(images), Manifest(poses)
    frame = find_sources(table, posed)
    joints = joint_columns(posed.columns("x", "y"), "x", "y")[frame["pose"]]
    sizes = frame[["width", "height"]].to_numpy(np.float32)[:, None]
    for start in range(0, len(joints), _SCALED):
        some = slice(start, start + _SCALED)
        joints[some] = scale_joints(joints[some], sizes[some], size)
    ids = frame["id"].tolist()
    pool = _Pool(
        ids, table.path.parent, frame["path"].tolist(), frame["pid"].tolist(), frame["camid"].tolist(),
        torch.from_numpy(joints).to(device), {id: position for position, id in enumerate(ids)},
    )  # fmt: skip
    del frame
    release_unused()
    return pool


def _times(*files: Path) -> tuple[int, ...]:
    return tuple(local(file).stat().st_mtime_ns for file in files)


def _decode(file: Path, size: tuple[int, int]) -> np.ndarray | str:
    """The source's pixels, or what is wrong with its file."""
    try:
        return fit(read_image(file), size)
    except Refused:
        raise
    except AugmentError as error:
        return str(error)


def _write(files: list[Path] | None, images: np.ndarray, quality: int) -> list[tuple[str, bytes]]:
    """Write JPEGs, or only encode them: their hashes, and their bytes where no file holds them yet.

    What a power failure takes has another hash than its row: it is made again.
    """
    made = []
    for number, image in enumerate(images):
        data = encode_jpeg(image, quality)
        if files is not None:
            with atomic_write(files[number], sync=False) as out:
                out.write(data)
        made.append((sha256_bytes(data), b"" if files is not None else data))
    return made


def _stem(image_id: str) -> str:
    return image_id.rpartition("/")[2]


def _name(pool: _Pool, job: _Job) -> str:
    return f"{_stem(pool.ids[job.source])}g{'own' if job.rank is None else job.rank}"


def _file(pool: _Pool, job: _Job) -> str:
    return f"images/{_name(pool, job)}.jpg"


def _row(pool: _Pool, section: SynthesisConfig, checkpoint: str, position: int, *, job: _Job | None = None,
         size: tuple[int, int] = (0, 0), sha256: str | None = None,
         reason: str | None = None) -> dict[str, Any]:  # fmt: skip
    source = pool.ids[position]
    name = _name(pool, job) if job else _stem(source)
    new = job is not None and job.rank is not None
    return {
        "id": f"synthetic/{name}", "path": f"images/{name}.jpg", "sha256": sha256, "width": size[1], "height": size[0],
        "status": "ok" if job else "failed", "reason": reason, "pid": pool.pids[position],
        "camid": pool.camids[position], "source": source, "pose_source": pool.ids[job.pose] if job else None,
        "pose_pid": pool.pids[job.pose] if job else None, "rank": job.rank if job else None,
        "seed": section.seed, "checkpoint": checkpoint, "kept": new,
        "verdict": "" if new else OWN_POSE if job else "the source cannot be read",
    }  # fmt: skip


def _batch_size(section: SynthesisConfig, device: torch.device) -> int:
    if section.batch_size == "auto":
        return 256 if device.type == "cuda" else 32  # a batch is a thousand kernels to start, whatever its size
    return section.batch_size
