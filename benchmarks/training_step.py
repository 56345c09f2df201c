"""One full training iteration against the plain form of the same, and how far it is from the machine's limit.

    python benchmarks/training_step.py [--width 1.0] [--batch 4] [--rounds 3] [--vgg FILE]

Times are processor seconds on one thread (on CUDA: seconds), the two taken in turns, the least of each: on a machine
that does other things as well, wall-clock time says nothing. The operations counted are those of convolutions and
matrix products; the limit is how fast this machine multiplies two 1024x1024 matrices in the same minute.
"""

import argparse
import time
from dataclasses import fields

import numpy as np
import torch
from plain_gan import PlainTrainer
from torch.utils.flop_counter import FlopCounterMode

from augment.config import GanConfig
from augment.gan.dataset import Batch, PairData
from augment.gan.trainer import Trainer

# A person, standing; x and y for a frame of 128x64.
STANDING = np.array([
    (32, 13), (32, 25), (22, 28), (17, 45), (14, 61), (42, 28), (47, 45), (50, 61), (24, 64),
    (24, 90), (24, 115), (40, 64), (40, 90), (40, 115), (29, 10), (35, 10), (26, 12), (38, 12),
])  # fmt: skip


def made_up_data(device: torch.device, count: int = 32) -> PairData:
    """Random images with poses like real ones: one joint in five is missing."""
    rng = np.random.default_rng(0)
    joints = (STANDING + rng.normal(0, 3, (count, 18, 2))).astype(np.float32)
    hidden = rng.random((count, 18)) < 0.2
    hidden[:, [2, 5, 8, 11]] = False
    joints[hidden] = np.nan
    images = torch.from_numpy(rng.integers(0, 256, (count, 128, 64, 3), dtype=np.uint8))
    pairs = rng.permutation([(a, b) for a in range(count) for b in range(count) if a != b])
    return PairData(images.to(device), torch.from_numpy(joints).to(device), pairs, pairs[:8])


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def seconds(function, device: torch.device) -> float:
    start = clock(device)
    function()
    return clock(device) - start


def matrix_rate(device: torch.device) -> float:
    """Operations a second of a matrix product."""
    a = torch.randn(1024, 1024, device=device)
    a @ a
    return 2 * 1024**3 * 5 / min(seconds(lambda: [a @ a for _ in range(5)], device) for _ in range(3))


def operations_of(config: GanConfig, data: PairData, device: torch.device) -> int:
    """Of one iteration, counted where nothing is hidden in a graph."""
    trainer = Trainer(config, data, device)
    with FlopCounterMode(display=False) as counter:
        trainer.step()
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vgg", help="file of VGG-19's weights, its name ending in what they were trained with")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--compile", choices=("graph", "full"), default=False)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    config = GanConfig(
        fidelity="released", width=options.width, batch_size=options.batch,
        features="vgg19" if options.vgg else "patches", vgg_weights=options.vgg,
        precision=options.precision, compile=options.compile,
    )  # fmt: skip
    data = made_up_data(device)
    ours = Trainer(config, data, device)
    for _ in range(2 if device.type == "cpu" else 10):
        ours.step()
    operations = operations_of(config.model_copy(update={"compile": False}), data, device)

    times: dict[str, list[float]] = {"plain": [], "ours": []}
    plain = PlainTrainer(config, data.image_size) if device.type == "cpu" else None
    for _ in range(options.rounds):
        times["ours"].append(seconds(ours.step, device))
        if plain is not None:
            batches = [plain_batch(data, np.arange(n * options.batch, (n + 1) * options.batch)) for n in range(3)]
            times["plain"].append(seconds(lambda batches=batches: plain.step(*batches), device))
    rate = matrix_rate(device)
    best = min(times["ours"])
    print(f"{'':24}{'s/iteration':>14}{'images/s':>12}{'ratio':>9}")
    if plain is not None:
        print(f"{'plain':24}{min(times['plain']):14.3f}{options.batch / min(times['plain']):12.2f}{1:9.2f}")
    ratio = f"{min(times['plain']) / best:9.2f}" if plain is not None else ""
    print(f"{'ours':24}{best:14.3f}{options.batch / best:12.2f}{ratio}")
    print(f"{'limit: products alone':24}{operations / rate:14.3f}{options.batch * rate / operations:12.2f}")
    print(f"\n{operations / 1e9:.1f} GFLOP an iteration, {rate / 1e9:.1f} GFLOP/s measured on products of 1024x1024: "
          f"ours reaches {operations / rate / best:.0%} of the limit.")  # fmt: skip


def plain_batch(data: PairData, which: np.ndarray) -> Batch:
    batch = data.batch(data.train[which])
    return Batch(*(getattr(batch, field.name).contiguous() for field in fields(Batch)))


if __name__ == "__main__":
    main()
