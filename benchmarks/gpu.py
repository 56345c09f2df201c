"""All there is to measure on a fresh GPU machine, in one command and under ten minutes.

    python benchmarks/gpu.py [--only parity,training,generation] [--vgg FILE] [--annotations CSV] [--out results.jsonl]

Every cell is one line of --out as soon as it is done; the same command skips finished cells and continues. Exits with
1 where a parity limit was missed or a cell failed. ``--device cpu --width 0.07 --quick`` tries all of it in a minute.
Without --vgg VGG-19 has random weights, which take as long; without --annotations poses are made up.
"""

import argparse
import gc
import json
import math
import os
import secrets
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import gpu_generation
import gpu_parity
import torch
from deformable_skip import real_poses
from gpu_parity import tf32
from timing import copy_rate
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training_step import made_up_data, operations_of, seconds

from augment.base.devices import pick_device
from augment.base.errors import UsageError
from augment.config import GanConfig
from augment.gan.dataset import PairData
from augment.gan.trainer import Trainer

SECTIONS = ("parity", "training", "generation")
MODES = {  # gan.compile and gan.precision
    "eager fp32": (False, "fp32"), "eager bf16": (False, "bf16"), "graph bf16": ("graph", "bf16"),
    "compiled fp32": ("full", "fp32"), "compiled bf16": ("full", "bf16"),
}  # fmt: skip
RATES = {"fp32": "tf32_tflops", "bf16": "bf16_tflops"}  # cuDNN's convolutions of fp32 take TF32
UNSAID = ("cell", "settings", "limits", "seed", "top")
WARM_UP = 10
ITERATIONS = 90_000


class Cells:
    """The lines of the file of results, by name, and how to add one."""

    def __init__(self, file: Path, settings: dict[str, Any], minutes: float):
        self.file, self.settings, self.start, self.minutes = file, settings, time.monotonic(), minutes
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        self.rows: dict[str, dict[str, Any]] = {line["cell"]: line for line in lines}
        if any(line["settings"] != settings for line in lines):
            sys.exit(f"{file} is of another machine or other settings: {lines[0]['settings']}. Give another --out.")
        self.failed: list[str] = []

    def run(self, name: str, work: Callable[[], dict[str, Any]] | None) -> dict[str, Any] | None:
        """Run a cell unless it is finished or the time is up; an error in it is printed, and the others continue."""
        if name in self.rows:
            return self.rows[name]
        if work is None:
            self.say(f"{name}: skipped, it is for CUDA")
            return None
        if time.monotonic() - self.start > 60 * self.minutes:
            self.say(f"{name}: left out, the time is up; the same command continues")
            return None
        try:
            row = {"cell": name, **work(), "settings": self.settings}
        except Exception as error:
            traceback.print_exc()
            self.say(f"{name}: FAILED, {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            self.failed.append(name)
            return None
        finally:
            gc.collect()  # a captured trainer refers to itself
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            torch._dynamo.reset()
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows[name] = row
        self.say(f"{name}: " + ", ".join(f"{key} {_short(row[key])}" for key in row if key not in UNSAID))
        return row

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.start:4.0f} s] {text}", flush=True)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_short(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def header(device: torch.device, quick: bool) -> dict[str, Any]:
    """What machine this is, and its rates: bytes copied and products of 8192x8192 matrices, a second."""
    side = 512 if quick else 8192
    row: dict[str, Any] = {"gpu": "none", "driver": "none", "cudnn": str(torch.backends.cudnn.version())}
    if device.type == "cuda":
        row["gpu"] = torch.cuda.get_device_name(device)
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        row["driver"] = subprocess.run(command, capture_output=True, text=True).stdout.strip().replace("\n", " ")
    row |= {
        "torch": torch.__version__, "cores": os.cpu_count(), "tf32_products": torch.backends.cuda.matmul.allow_tf32,
        "tf32_convolutions": torch.backends.cudnn.allow_tf32, "copy_gb_s": device_copy_rate(device) / 1e9,
    }  # fmt: skip
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(side, side, device=device).to(dtype)
        with tf32(True):
            a @ a
            best = min(seconds(lambda a=a: [a @ a for _ in range(5)], device) / 5 for _ in range(4))
        row[RATES[name]] = 2 * side**3 / best / 1e12
    return row


def device_copy_rate(device: torch.device) -> float:
    if device.type != "cuda":
        return copy_rate()
    source = torch.ones(1 << 28, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / min(seconds(lambda: target.copy_(source), device) for _ in range(10))


class Training:
    """Cells of training: every batch size and mode, and one profile."""

    def __init__(self, device: torch.device, width: float, vgg: str, data: PairData, quick: bool):
        self.device, self.data = device, data
        self.section = GanConfig(width=width, vgg_weights=vgg, fidelity="released")
        self.warm_up, self.duration, self.batches = (1, 0.2, (2, 4)) if quick else (WARM_UP, 5.0, (4, 16, 64))
        self._operations = cache(lambda: operations_of(self.section, self.data, self.device))

    def of(self, batch: int, mode: str) -> GanConfig:
        compiled, precision = MODES[mode]
        return self.section.model_copy(update={"batch_size": batch, "compile": compiled, "precision": precision})

    def cells(self, compiled: bool) -> Iterator[tuple[str, Callable[[dict[str, Any]], dict[str, Any]] | None]]:
        """Name and work of each; the work takes the header's row."""
        cuda = self.device.type == "cuda"
        for batch in self.batches:
            for mode in MODES:
                if mode.startswith("compiled") == compiled:
                    work = lambda rates, batch=batch, mode=mode: self.speed(batch, mode, rates)  # noqa: E731
                    yield f"training batch {batch} {mode}", work if cuda or not MODES[mode][0] else None
        if not compiled:
            yield "training profile", (lambda rates: self.profile()) if cuda else None

    def speed(self, batch: int, mode: str, rates: dict[str, Any]) -> dict[str, Any]:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainer = Trainer(self.of(batch, mode), self.data, self.device)
        first = self._timed(trainer.step, 1)
        self._timed(trainer.step, self.warm_up - 1)
        trial = self._timed(trainer.step, 3) / 3
        count = min(max(3, int(self.duration / trial)), 5000)
        each = self._timed(trainer.step, count) / count
        losses = trainer.read_losses("log")
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise ArithmeticError(f"losses are {losses}")
        floor = self._operations() * batch / self.section.batch_size / (rates[RATES[MODES[mode][1]]] * 1e12)
        peak = torch.cuda.max_memory_allocated() / 1e9 if self.device.type == "cuda" else 0.0
        return {
            "iterations_s": 1 / each, "images_s": batch / each, "peak_gb": peak, "first_step_s": first, "steps": count,
            "share_of_floor": floor / each, "minutes_90k": ITERATIONS * each / 60,
        }  # fmt: skip

    def _timed(self, step: Callable[[], None], count: int) -> float:
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(count):
            step()
        synchronize(self.device)
        return time.perf_counter() - start

    def profile(self) -> dict[str, Any]:
        """The time of a step by kernel, as a graph in bf16 with four pairs."""
        trainer = Trainer(self.of(4, "graph bf16"), self.data, self.device)
        self._timed(trainer.step, WARM_UP)
        count = 10
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            self._timed(trainer.step, count)
        events = [event for event in profiler.key_averages() if event.device_type == DeviceType.CUDA]
        events.sort(key=lambda event: -event.self_device_time_total)
        kernels = [event for event in events if not event.key.lower().startswith(("memcpy", "memset"))]
        print(f"{'us a step':>10}{'calls':>7}  kernel (graph bf16, batch 4)")
        top = [(event.self_device_time_total / count, event.count / count, event.key[:90]) for event in events[:15]]
        for micros, calls, name in top:
            print(f"{micros:10.1f}{calls:7.1f}  {name}")
        return {
            "kernels_a_step": sum(event.count for event in kernels) / count,
            "device_us_a_step": sum(event.self_device_time_total for event in events) / count, "top": top,
        }  # fmt: skip


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def data_of(device: torch.device, annotations: Path | None) -> PairData:
    """The made-up images of the other benchmarks, with real poses where there are any."""
    data = made_up_data(device)
    poses = real_poses(annotations, len(data.joints))
    return data if poses is None else replace(data, joints=poses.to(device))


def random_vgg(folder: Path) -> str:
    """A file of weights of the right shapes."""
    random = torch.Generator().manual_seed(0)
    weights: dict[str, torch.Tensor] = {}
    for name, inputs, outputs in (("features.0", 3, 64), ("features.2", 64, 64), ("features.5", 64, 128)):
        weights[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=random) * (2 / (9 * inputs)) ** 0.5
        weights[f"{name}.bias"] = torch.zeros(outputs)
    torch.save(weights, folder / "random-caffe.pth")
    return str(folder / "random-caffe.pth")


def table(rows: dict[str, dict[str, Any]]) -> None:
    """The figures of all cells, old and new."""
    print("\nparity (relative error, float64 on the CPU)")
    for name, row in rows.items():
        if name.startswith("parity"):
            errors = "".join(f"{key:>10} {value:.1e}{'!' if key in row['missed'] else ' '}"
                             for key, value in row["errors"].items())  # fmt: skip
            print(f"  {name[7:]:22}{errors}")
    print(f"\n{'training':32}{'it/s':>9}{'images/s':>10}{'GB':>7}{'first s':>9}{'of floor':>10}{'90k: min':>10}")
    for name, row in rows.items():
        if name.startswith("training batch"):
            print(f"  {name[9:]:30}{row['iterations_s']:9.2f}{row['images_s']:10.1f}{row['peak_gb']:7.1f}"
                  f"{row['first_step_s']:9.1f}{row['share_of_floor']:10.1%}{row['minutes_90k']:10.1f}")  # fmt: skip
    gpu_generation.table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of " + ",".join(SECTIONS))
    parser.add_argument("--vgg", help="file of VGG-19's weights, its name ending in what they were trained with")
    parser.add_argument("--annotations", type=Path, help="published key points of real poses")
    parser.add_argument("--out", type=Path, default=Path("results.jsonl"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, default=8.5, help="no cell starts later than this")
    parser.add_argument("--quick", action="store_true", help="so few of everything that a CPU does it")
    parser.add_argument("--seed", type=int, help="of the parity cells; a new one every time where not given")
    options = parser.parse_args()
    only = options.only.split(",")
    if unknown := set(only) - set(SECTIONS):
        parser.error(f"--only {', '.join(sorted(unknown))}: there are {', '.join(SECTIONS)}")
    try:
        device = pick_device(options.device)
    except UsageError as error:
        parser.error(str(error))
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    vgg = Path(options.vgg or "random").name
    settings = {"machine": machine, "width": options.width, "quick": options.quick, "vgg": vgg}
    cells = Cells(options.out, settings, options.minutes)
    head = cells.run("header", lambda: header(device, options.quick))
    if head is None:
        sys.exit(1)
    data = data_of(device, options.annotations)
    poses = data.joints.cpu()
    if "parity" in only:
        seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        cells.say(f"parity: seed {seed}")
        for name, work in gpu_parity.cells(device, options.width, seed, poses, data):
            cells.run(f"parity {name}", work and (lambda work=work: work() | {"seed": seed}))
    with tempfile.TemporaryDirectory() as folder:
        training = Training(device, options.width, options.vgg or random_vgg(Path(folder)), data, options.quick)
        # What is compiled takes longest to begin, so it comes last.
        for section, compiled in (("training", False), ("generation", False), ("training", True)):
            if section not in only:
                continue
            if section == "generation":
                gpu_generation.run(cells, device, options.width, poses, Path(folder), options.quick)
                continue
            for name, work in training.cells(compiled):
                cells.run(name, work and (lambda work=work: work(head)))
    table(cells.rows)
    missed = [name for name, row in cells.rows.items() if row.get("missed")]
    if missed or cells.failed:
        sys.exit(f"\nmissed a limit: {', '.join(missed) or 'none'}; failed: {', '.join(cells.failed) or 'none'}")


if __name__ == "__main__":
    main()
