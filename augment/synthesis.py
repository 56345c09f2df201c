"""Ten target poses for every training image, in bulk (App. C). Heat maps are made on the fly and never stored."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from augment.config import SynthesisConfig
from augment.devices import pick_device
from augment.errors import AugmentError
from augment.files import encode_jpeg, read_image, sha256_bytes, sha256_file
from augment.gan.checkpoints import load_generator
from augment.gan.dataset import fit, joints_of, scale_joints, to_network, to_uint8
from augment.manifest import Manifest
from augment.progress import say
from augment.stage import Spread, one_by_one, provenance, run_shards

STAGE, VERSION = "synthetic", 1
WRITERS = 4  # threads that encode and write while the next batch is generated


def synthesize(section: SynthesisConfig, images: Manifest, poses: Manifest, checkpoints: Manifest, folder: Path, *,
               spread: Spread = one_by_one, shard_size: int = 1000) -> Manifest:  # fmt: skip
    """Draw every training person with an accepted pose (junk -1 and distractor 0000 aside) in other people's poses.

    Target poses are those of all such images, own one included as in the released code; drawn without replacement,
    seeded by image. ``images/<source>g<rank>.jpg`` keeps the source's name, so that whoever reads Market-1501's names
    gives it the source's identity and camera. An unreadable source gives one row with status "failed". ``shard_size``
    counts generated images. Raises :class:`AugmentError` where there is no source or no generator.
    """
    folder = Path(folder)
    weights = _last_weights(checkpoints)
    origin = provenance(STAGE, VERSION, section, {"images": images, "poses": poses, "generator": weights["sha256"]})
    sources = find_sources(images, poses)
    of_train = (images.frame()["split"] == "train").sum()
    if not len(sources):
        raise AugmentError(f"{poses.path}: no training image has an accepted pose, so there is nothing to draw.")
    if len(sources) < of_train:
        lacking = of_train - len(sources)
        say(f"{STAGE}: {lacking} of {of_train} training images have no accepted pose; nothing is drawn from them.")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    work = partial(_draw_shard, section=section, images=images.path, poses=poses.path,
                   weights=checkpoints.file_of(weights["path"]), checkpoint=weights["sha256"])  # fmt: skip
    try:
        return run_shards("synthetic", folder / "synthetic.parquet", origin, list(sources["id"]), work,
                          id_column="source", spread=spread,
                          shard_size=max(1, shard_size // section.poses_per_image))  # fmt: skip
    finally:
        _generator.cache_clear()


def find_sources(images: Manifest, poses: Manifest) -> pd.DataFrame:
    """Training images of known people with an accepted pose, by id: image columns plus ``x`` and ``y``."""
    frame = images.frame()
    frame = frame[(frame["split"] == "train") & (frame["status"] == "ok") & (frame["pid"] > 0)]
    accepted = poses.frame().query("accepted")[["id", "x", "y"]]
    return frame.merge(accepted, on="id").sort_values("id", ignore_index=True)


def draw_poses(source: str, count: int, pool: int, seed: int) -> np.ndarray:
    """Which of a ``pool`` of poses an image is drawn in: ``count`` different ones (fewer where the pool is smaller)."""
    rng = np.random.default_rng([seed, int.from_bytes(bytes.fromhex(sha256_bytes(source.encode())[:16]))])
    return rng.choice(pool, min(count, pool), replace=False)


def _last_weights(checkpoints: Manifest) -> dict[str, Any]:
    rows = [row for row in checkpoints.table.to_pylist() if row["role"] == "last" and row["status"] == "ok"]
    if not rows:
        raise AugmentError(f"{checkpoints.path}: holds no finished generator. Train one first (augment gan train).")
    return rows[0]


@dataclass(frozen=True)
class _Job:
    """One image to draw: positions in the tables of sources."""

    source: int
    pose: int
    rank: int


def _draw_shard(ids: Sequence[str], *, folder: Path, section: SynthesisConfig, images: Path, poses: Path, weights: Path,
                checkpoint: str) -> list[dict[str, Any]]:  # fmt: skip
    """The rows of some sources, after their images were written to ``folder/images``."""
    draw, size, device = _generator(weights, checkpoint, section)
    pool, joints = _pool(images, poses, size)
    joints = torch.from_numpy(joints).to(device)
    positions = pool.index.get_indexer(ids)
    rows: list[dict[str, Any]] = []
    jobs: list[_Job] = []
    with ThreadPoolExecutor(WRITERS) as threads:
        pixels: dict[int, np.ndarray] = {}
        for position, decoded in zip(positions, threads.map(partial(_decode, pool, Manifest(images), size), positions),
                                     strict=True):  # fmt: skip
            if isinstance(decoded, str):
                rows.append(_row(pool, section, checkpoint, position, reason=decoded))
                continue
            pixels[position] = decoded
            poses_drawn = draw_poses(pool.index[position], section.poses_per_image, len(pool), section.seed)
            jobs += [_Job(position, pose, rank) for rank, pose in enumerate(poses_drawn.tolist())]
        written: list[tuple[_Job, Future[str]]] = []
        for batch, generated in _generate(draw, jobs, pixels, joints, section.batch_size, device):
            for job, image in zip(batch, generated, strict=True):
                file = folder / "images" / f"{_stem(pool.index[job.source])}g{job.rank}.jpg"
                written.append((job, threads.submit(_write, file, image, section.jpeg_quality)))
        rows += [
            _row(pool, section, checkpoint, job.source, job=job, size=size, sha256=future.result())
            for job, future in written
        ]
    return rows


def _generate(draw: Any, jobs: list[_Job], pixels: dict[int, np.ndarray], joints: Tensor, batch_size: int,
              device: torch.device) -> Iterator[tuple[list[_Job], np.ndarray]]:  # fmt: skip
    """Images (B, H, W, 3) uint8 of the jobs, batch by batch. On CUDA the next is drawn while one is handed out."""
    waiting: list[tuple[list[_Job], Tensor, torch.cuda.Event | None]] = []
    for start in range(0, len(jobs), batch_size):
        batch = jobs[start : start + batch_size]
        # Every batch is full, so that kernels and hence pixels are the same for a shard of any size.
        full = batch + batch[-1:] * (batch_size - len(batch))
        source = torch.from_numpy(np.stack([pixels[job.source] for job in full])).to(device)
        from_pose = torch.tensor([job.source for job in full]).to(device)
        to_pose = torch.tensor([job.pose for job in full]).to(device)
        drawn = to_uint8(draw(to_network(source), joints[from_pose], joints[to_pose]))
        waiting.append((batch, *_to_host(drawn)))
        if len(waiting) > 1:
            yield _arrived(*waiting.pop(0))
    for one in waiting:
        yield _arrived(*one)


def _to_host(drawn: Tensor) -> tuple[Tensor, "torch.cuda.Event | None"]:
    if drawn.device.type != "cuda":
        return drawn, None
    host = torch.empty(drawn.shape, dtype=drawn.dtype, pin_memory=True).copy_(drawn, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host, copied


def _arrived(batch: list[_Job], host: Tensor, copied: "torch.cuda.Event | None") -> tuple[list[_Job], np.ndarray]:
    if copied is not None:
        copied.synchronize()
    return batch, host.numpy()[: len(batch)]


@lru_cache(maxsize=1)  # shards of one process share it
def _generator(weights: Path, checkpoint: str, section: SynthesisConfig) -> tuple[Any, tuple[int, int], torch.device]:
    device = pick_device(section.device)
    if weights.exists() and sha256_file(weights) != checkpoint:
        raise AugmentError(f"{weights}: is not the file that the checkpoints manifest names (its hash differs). "
                           "Restore it, or train again.")  # fmt: skip
    generator, _ = load_generator(weights, weights=section.weights, device=device)
    forward = torch.compile(generator, dynamic=False) if section.compile else generator

    @torch.inference_mode()
    def draw(*inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=section.precision == "bf16"):
            return forward(*inputs)

    return draw, generator.image_size, device


def _pool(images: Path, poses: Path, size: tuple[int, int]) -> tuple[pd.DataFrame, np.ndarray]:
    """All sources by id, and their joints (N, 18, 2) in pixels of the generator's images."""
    pool = find_sources(Manifest(images), Manifest(poses)).set_index("id")
    joints = joints_of(pool)
    return pool, scale_joints(joints, pool[["width", "height"]].to_numpy(np.float32)[:, None], size)


def _decode(pool: pd.DataFrame, images: Manifest, size: tuple[int, int], position: int) -> np.ndarray | str:
    """The source's pixels, or what is wrong with its file."""
    try:
        return fit(read_image(images.file_of(pool["path"].iloc[position])), size)
    except AugmentError as error:
        return str(error)


def _write(file: Path, image: np.ndarray, quality: int) -> str:
    """Write a JPEG and return its hash. A torn file has no row yet, or another hash than its row: it is made again."""
    data = encode_jpeg(image, quality)
    file.write_bytes(data)
    return sha256_bytes(data)


def _stem(image_id: str) -> str:
    return image_id.rpartition("/")[2]


def _row(pool: pd.DataFrame, section: SynthesisConfig, checkpoint: str, position: int, *, job: _Job | None = None,
         size: tuple[int, int] = (0, 0), sha256: str | None = None,
         reason: str | None = None) -> dict[str, Any]:  # fmt: skip
    source = pool.index[position]
    name = f"{_stem(source)}g{job.rank}" if job else _stem(source)
    return {
        "id": f"synthetic/{name}", "path": f"images/{name}.jpg", "sha256": sha256, "width": size[1], "height": size[0],
        "status": "ok" if job else "failed", "reason": reason, "pid": pool["pid"].iloc[position],
        "camid": pool["camid"].iloc[position], "source": source,
        "pose_source": pool.index[job.pose] if job else None, "pose_pid": pool["pid"].iloc[job.pose] if job else None,
        "rank": job.rank if job else None,
        "seed": section.seed, "checkpoint": checkpoint, "kept": job is not None,
        "verdict": "" if job else "the source cannot be read",
    }  # fmt: skip
