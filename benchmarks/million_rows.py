"""Rows a second and peak memory of every step that touches all rows, at several sizes of the data set.

    python benchmarks/million_rows.py --rows 10000 100000 1000000 --folder /tmp/million

The images are hard links to 64 small JPEGs in Market-1501's layout, seven of a person; their poses come from a file in
the paper's format. Each step is a process of its own: its peak is the most memory that it ever held, with libraries.
Time is the processor's, of one thread. Nothing is deleted, so that a second call measures reuse.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from augment.base.files import atomic_write, encode_jpeg
from augment.config import Config
from augment.data.layouts import MARKET_FOLDERS
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        start = time.process_time()
        STEPS[options.step](configuration(options.folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": time.process_time() - start, "peak": peak}))
        return
    print(f"{'rows':>10}  {'step':<24}{'seconds':>9}{'rows/s':>10}{'peak MB':>9}")
    for rows in options.rows:
        folder = options.folder.absolute() / str(rows)
        prepare(folder, rows)
        for step in STEPS:
            ran = subprocess.run([sys.executable, __file__, "--folder", folder, "--step", step], check=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
            found = json.loads(ran.stdout.splitlines()[-1])
            print(f"{rows:>10}  {step:<24}{found['seconds']:>9.1f}{rows / found['seconds']:>10.0f}"
                  f"{found['peak']:>9.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
