"""Rows a second and peak memory of every step that touches all rows, at several sizes of the data set.

    python benchmarks/million_rows.py --rows 10000 100000 1000000 --folder /tmp/million

The images are hard links to 64 small JPEGs in Market-1501's layout, seven of a person; their poses come from a file in
the paper's format. Each step is a process of its own: its peak is the most memory that it ever held, with libraries.
Time is the processor's, of one thread. Nothing is deleted, so that a second call measures reuse.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

from augment.base.files import atomic_write
from augment.base.images import encode_jpeg
from augment.config import Config
from augment.data.layouts import MARKET_FOLDERS
from augment.manifest import SCHEMAS, read_manifest, sort_rows, write_manifest
from augment.pipeline.folder import locked_run
from augment.pipeline.lineage import problems_of, trace
from augment.pipeline.plan import make_plan
from augment.pipeline.stages import make_report, run_stage, stage_named

EACH = 7  # images of a person
SAMPLE = 16  # sources whose synthetic images are made
STANDING = "[11, 25, 28, 45, 60, 28, 45, 60, 62, 85, 112, 62, 85, 112, 9, 9, 11, 11]: " \
           "[32, 32, 22, 18, 16, 42, 46, 48, 26, 25, 25, 38, 39, 39, 29, 35, 25, 39]"  # fmt: skip


def configuration(folder: Path) -> Config:
    return Config.model_validate({
        "name": "million", "output": folder / "run", "data": {"root": folder / "data"},
        "pose": {"estimator": "annotations",
                 "annotations": {split: str(folder / f"{split}.csv") for split in ("train", "gallery")}},
        "gan": {"start": "rendered", "iterations": 0},
        "synthesis": {"poses_per_image": 10},
    })  # fmt: skip


def prepare(folder: Path, rows: int) -> None:
    """The data set: of every 20 people one is in the gallery, with one image as query."""
    if (folder / "train.csv").exists():
        return
    originals = []
    for number in range(64):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 4, 3), np.uint8)
        file = folder / "originals" / f"{number}.jpg"
        with atomic_write(file) as out:
            out.write(encode_jpeg(pixels.repeat(16, 0).repeat(16, 1)))
        originals.append(file)
    for name in MARKET_FOLDERS.values():
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
    lines = {"train": ["name:keypoints_y:keypoints_x"], "gallery": ["name:keypoints_y:keypoints_x"]}
    for row in range(rows):
        pid, number = row // EACH + 1, row % EACH
        split = "train" if pid % 20 else "gallery" if number else "query"
        name = f"{pid:07d}_c{number % 6 + 1}s1_{number:06d}_01.jpg"
        os.link(originals[row % 64], folder / "data" / MARKET_FOLDERS[split] / name)
        if split in lines:
            lines[split].append(f"{name}: {STANDING}")
    for split, text in lines.items():
        with atomic_write(folder / f"{split}.csv") as out:
            out.write(("\n".join(text) + "\n").encode())


def prepare_tables(folder: Path, rows: int) -> None:
    """The tables of images and poses of such a set, without its files."""
    run = folder / "run"
    if (run / "poses" / "poses.parquet").exists():
        return
    pids = np.arange(rows) // EACH + 1
    numbers = np.arange(rows) % EACH
    splits = np.where(pids % 20 > 0, "train", np.where(numbers > 0, "gallery", "query"))
    names = [f"{pid:07d}_c{number % 6 + 1}s1_{number:06d}_01" for pid, number in zip(pids, numbers, strict=True)]
    ids = pa.array([f"{split}/{name}" for split, name in zip(splits, names, strict=True)])
    same = {"width": 64, "height": 128, "status": "ok", "reason": "", "sequence": 1, "people": 1,
            "estimator": "annotations", "checkpoint": "", "accepted": True, "verdict": "ok",
            "sha256": "0" * 64}  # fmt: skip
    known = {
        "id": ids, "path": pa.array([f"../../data/{name}.jpg" for name in names]), "split": pa.array(splits),
        "pid": pa.array(pids), "camid": pa.array(numbers % 6 + 1), "frame": pa.array(numbers),
    }  # fmt: skip
    y, x = (json.loads(part) for part in STANDING.split(": "))
    for axis, values in (("x", x), ("y", y), ("confidence", [1] * 18)):
        flat = pa.array(np.tile(np.array(values, np.float32), rows))
        known[axis] = pa.FixedSizeListArray.from_arrays(flat, 18)
    known |= {name: pa.repeat(pa.scalar(value), rows) for name, value in same.items()}
    origin = {"digest": "0", "section": {}, "inputs": {}, "version": 1, "packages": {}, "command": "a script"}
    for kind in ("images", "poses"):
        schema = SCHEMAS[kind]
        table = pa.table([known[name] for name in schema.names], names=schema.names).cast(schema)
        if kind == "poses":
            table = table.filter(pa.compute.not_equal(known["split"], "query"))
        write_manifest(run / kind / f"{kind}.parquet", kind, sort_rows(kind, table), origin | {"stage": kind})


def one_pose_shard(config: Config) -> int:
    """What a worker of the pose stage reads for a shard of a thousand images."""
    images = read_manifest(config.folder / "images" / "images.parquet")
    sent = pickle.dumps(images)
    ids = images.table["id"].slice(len(images.table) // 2, 1000).to_pylist()
    del images
    start = time.process_time()
    rows = pickle.loads(sent).rows(ids)
    print(f"a table is sent as {len(sent)} bytes; {len(rows)} rows are read in {time.process_time() - start:.3f} s",
          file=sys.stderr)  # fmt: skip
    return len(rows)


def sample(config: Config) -> int:
    """The synthetic images of a few sources, as a worker makes them that got one shard."""
    from augment.gan.inference import last_weights
    from augment.synthesis.stage import _generate_shard

    tables = dict(zip(("images", "poses", "gan"), stage_named("synthetic").inputs(config.folder), strict=True))
    weights, checkpoint = last_weights(tables["gan"])
    ids = tables["poses"].table["id"].slice(len(tables["poses"].table) - SAMPLE).to_pylist()
    (config.folder / "synthetic" / "images").mkdir(parents=True, exist_ok=True)
    rows = _generate_shard(ids, folder=config.folder / "synthetic", section=config.synthesis,
                           images=tables["images"].path, poses=tables["poses"].path, weights=weights,
                           checkpoint=checkpoint, per_shard=SAMPLE)  # fmt: skip
    return len(rows)


STEPS: dict[str, Callable[[Config], object]] = {
    **{name: lambda config, name=name: run_stage(stage_named(name), config)
       for name in ("images", "poses", "pairs", "gan")},
    "reuse": lambda config: [run_stage(stage_named(name), config) for name in ("images", "poses", "pairs")],
    "dry run": make_plan,
    "verify": lambda config: [found for _, _, found in problems_of(config.folder)],
    "trace": lambda config: trace(config.folder, "train/0000001_c1s1_000000_01"),
    f"synthesis of {SAMPLE} sources": sample,
    "report": make_report,
}  # fmt: skip

OF_TABLES = {"pairs": STEPS["pairs"], "one pose shard": one_pose_shard, "trace": STEPS["trace"],
             "report": STEPS["report"]}  # fmt: skip


def peak_mb() -> float:
    """The most memory of this program; ru_maxrss would count what its parent had before it was started."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tables", action="store_true",
                        help="write the tables of images and poses without files: a tenth of the time")  # fmt: skip
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        start = time.process_time()
        (STEPS | OF_TABLES)[options.step](configuration(options.folder))
        print(json.dumps({"seconds": time.process_time() - start, "peak": peak_mb()}))
        return
    print(f"{'rows':>10}  {'step':<24}{'seconds':>9}{'rows/s':>10}{'peak MB':>9}")
    for rows in options.rows:
        folder = options.folder.absolute() / str(rows)
        with locked_run(configuration(folder)):  # marks the folder as that of a run
            (prepare_tables if options.tables else prepare)(folder, rows)
        for step in OF_TABLES if options.tables else STEPS:
            errors = None if step == "one pose shard" else subprocess.DEVNULL
            ran = subprocess.run([sys.executable, __file__, "--folder", folder, "--step", step], check=True, text=True,
                                 stdout=subprocess.PIPE, stderr=errors)  # fmt: skip
            found = json.loads(ran.stdout.splitlines()[-1])
            print(f"{rows:>10}  {step:<24}{found['seconds']:>9.1f}{rows / found['seconds']:>10.0f}"
                  f"{found['peak']:>9.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
