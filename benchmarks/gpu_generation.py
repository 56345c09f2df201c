"""Generation cells of gpu.py: the real stage on small JPEGs, with a generator that was not trained, into a folder.

A cell's ``images_s`` is that of the whole stage with its generator loaded; ``start_s`` is what comes before the first
batch: loading, compiling, choosing kernels. The rates of drawing, copying and JPEG writing are each of that alone.
"""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from augment.base.files import sha256_bytes
from augment.base.images import encode_jpeg
from augment.config import GanConfig, SynthesisConfig
from augment.gan import inference
from augment.gan.checkpoints import save_weights
from augment.gan.networks import build_generator
from augment.manifest import Manifest, write_manifest
from augment.synthesis import stage as synthesis

SIZE = (128, 64)
SOURCES = 12_936  # Market-1501's training images, ten poses each
SHARD = 20_000
MODES = {  # synthesis.batch_size, precision, compile
    "batch 32 fp32": (32, "fp32", False), "batch 256 bf16": (256, "bf16", False),
    "batch 256 bf16 compiled": (256, "bf16", True),
}  # fmt: skip


def run(cells: Any, device: torch.device, width: float, poses: Tensor, folder: Path, quick: bool) -> None:
    """Each mode on a tenth of the images, then all with the one that would be done first."""
    everything, some = (12, 10) if quick else (SOURCES, 1000)
    names = {f"generation {mode}": mode for mode in MODES}
    wanted = [*names, "generation of all"]
    if all(name in cells.rows for name in wanted):
        return
    inputs = cache(lambda: Inputs(folder / "generation", width, poses, everything, some))

    def measure(mode: str, sources: int) -> dict[str, Any]:
        return {"mode": mode, **inputs().measure(mode, device, sources, quick)}

    for name, mode in names.items():
        work = partial(measure, mode, some)
        cells.run(name, work if device.type == "cuda" or not MODES[mode][2] else None)
    done = {mode: cells.rows[name] for name, mode in names.items() if name in cells.rows}
    if done:
        best = min(done, key=lambda mode: done[mode]["start_s"] + 10 * everything / done[mode]["images_s"])
        cells.run(wanted[-1], partial(measure, best, everything))


class Inputs:
    """Tables that the stage reads, made when they are first needed: images, poses, checkpoints."""

    def __init__(self, folder: Path, width: float, poses: Tensor, everything: int, some: int):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "crops").mkdir(parents=True)
        config = GanConfig(width=width, features="patches")
        raw, average = (build_generator(config).state_dict() for _ in range(2))
        file = "weights-000001.safetensors"
        header = {"config": config.identity(), "image_size": list(SIZE)}
        row = {
            "id": "gan/last", "path": file, "sha256": save_weights(folder / file, raw, average, header),
            "status": "ok", "reason": None, "role": "last", "iteration": 1, "system": config.system,
            "config_digest": "", "losses": "{}", "parent": None,
        }  # fmt: skip
        self.checkpoints = write_manifest(folder / "checkpoints.parquet", "checkpoints", [row], {"digest": "random"})
        self.weights = row
        rows = list(zip(*self._rows(poses.numpy(), everything), strict=True))
        self.tables = {
            count: [
                write_manifest(folder / f"{kind}-{count}.parquet", kind, of_kind, {"digest": f"{kind} {count}"})
                for kind, of_kind in zip(("images", "poses"), zip(*rows[:count], strict=True), strict=True)
            ]
            for count in (some, everything)
        }

    def _rows(self, joints: np.ndarray, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """So many people seen once, of 64 different smooth images."""
        rng = np.random.default_rng(0)
        crops = []
        for _ in range(64):
            coarse = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
            crops.append(encode_jpeg(np.asarray(coarse.resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC))))
        hashes = [sha256_bytes(data) for data in crops]
        images, poses = [], []
        for number in range(count):
            stem = f"{number + 1:05d}_c{number % 6 + 1}s1_{number:06d}_01"
            (self.folder / "crops" / f"{stem}.jpg").write_bytes(crops[number % 64])
            common = {"id": f"train/{stem}", "path": f"crops/{stem}.jpg", "sha256": hashes[number % 64],
                      "width": SIZE[1], "height": SIZE[0], "status": "ok", "reason": None}  # fmt: skip
            images.append(common | {"split": "train", "pid": number + 1, "camid": number % 6 + 1, "sequence": 1,
                                    "frame": number})  # fmt: skip
            x, y = joints[number % len(joints)].T.tolist()
            poses.append(common | {"x": x, "y": y, "confidence": [1.0] * 18, "people": 1, "estimator": "made up",
                                   "checkpoint": "", "accepted": True, "verdict": ""})  # fmt: skip
        return images, poses

    def measure(self, mode: str, device: torch.device, sources: int, quick: bool) -> dict[str, Any]:
        batch, precision, compiled = MODES[mode]
        section = SynthesisConfig(batch_size=min(batch, 8) if quick else batch, precision=precision, compile=compiled,
                                  device=str(device))  # fmt: skip
        out = self.folder / "out"
        try:
            (out / "images").mkdir(parents=True)
            # The stage below finds this generator in the cache, compiled.
            parts = self._parts(section, self.tables[sources], out, 2 if quick else 2048 // batch)
            start = time.perf_counter()
            made = synthesis.synthesize(section, *self.tables[sources], self.checkpoints, out, shard_size=SHARD)
            wall = time.perf_counter() - start
            good = made.table["status"].to_pylist().count("ok")
            if good != sources * section.poses_per_image:
                raise ArithmeticError(f"{good} images instead of {sources * section.poses_per_image}")
        finally:
            synthesis._generator.cache_clear()
            shutil.rmtree(out, ignore_errors=True)
        return {"images": good, "seconds": wall, "images_s": good / wall, **parts}

    def _parts(self, section: SynthesisConfig, tables: list[Manifest], out: Path, batches: int) -> dict[str, float]:
        """Seconds until the first batch is there, and images a second of each part of the work alone."""
        images, poses = (table.path for table in tables)
        checkpoint = self.weights["sha256"]
        start = time.perf_counter()
        generator = synthesis._generator(self.checkpoints.file_of(self.weights["path"]), checkpoint, section)
        size, device = generator.image_size, generator.device
        pool = synthesis._pool(images, poses, synthesis._times(images, poses), size, device)
        count = section.batch_size
        which = torch.arange(count, device=device) % len(pool.ids)
        sources = torch.randint(0, 256, (count, *size, 3), dtype=torch.uint8).to(device)

        def drawn() -> Tensor:
            return generator._run(sources, pool.joints[which], pool.joints[which.flip(0)])

        def rate(work: Any) -> float:
            start = time.perf_counter()
            for _ in range(batches):
                result = work()
            if isinstance(result, Tensor):
                result[:1, :1, :1].cpu()  # waits for the device
            return batches * count / (time.perf_counter() - start)

        host = drawn().cpu().numpy()
        first = time.perf_counter() - start
        result = {"start_s": first, "drawing_s": rate(drawn)}
        on_device = torch.from_numpy(host).to(device)
        result["copying_s"] = rate(lambda: inference._arrived(*inference._to_host(on_device)))
        jobs = [synthesis._Job(n % len(pool.ids), 0, n % 10) for n in range(count)]
        files = [out / f"{n}.jpg" for n in range(count)]
        each = -(-count // synthesis.WRITERS)

        with ThreadPoolExecutor(synthesis.WRITERS) as threads:

            def write() -> list[dict[str, Any]]:
                parts = [threads.submit(synthesis._write, files[n : n + each], host[n : n + each], section.jpeg_quality)
                         for n in range(0, count, each)]  # fmt: skip
                hashes = [digest for part in parts for digest in part.result()]
                return [synthesis._row(pool, section, checkpoint, job.source, job=job, size=size, sha256=sha256)
                        for job, sha256 in zip(jobs, hashes, strict=True)]  # fmt: skip

            write()
            result["jpeg_and_rows_s"] = rate(write)
        return result


def table(rows: dict[str, dict[str, Any]]) -> None:
    """Rates of all generation cells."""
    print(f"\n{'generation':34}{'start s':>9}{'images':>9}{'seconds':>9}{'images/s':>10}"
          f"{'drawing':>10}{'copying':>10}{'JPEG, rows':>12}")  # fmt: skip
    for name, row in rows.items():
        if name.startswith("generation"):
            print(f"  {name[11:]:32}{row['start_s']:9.1f}{row['images']:9}{row['seconds']:9.1f}{row['images_s']:10.0f}"
                  f"{row['drawing_s']:10.0f}{row['copying_s']:10.0f}{row['jpeg_and_rows_s']:12.0f}")  # fmt: skip
