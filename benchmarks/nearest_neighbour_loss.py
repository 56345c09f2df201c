"""Nearest-neighbour loss, forward and backward, against the n² shifted maps of App. A.

    python benchmarks/nearest_neighbour_loss.py [--threads 2] [--clock wall|cpu] [--seconds 30]

Two references, both differentiated by autograd: ``shifts`` sums each shifted difference before it makes the next (the
leaner), ``stacked`` is Eq. 11 to 14 as written, with n² difference tensors at once. Ratios are medians over rounds in
which all cases take turns.
"""

import argparse
import statistics

import torch
from timing import copy_rate, peak_bytes, ratio, take_turns
from torch.nn import functional

from augment.gan.losses import nearest_neighbour_loss

SHAPE = (4, 64, 128, 64)


def shifted(real, n):
    height, width = real.shape[2:]
    padded = functional.pad(real, [n // 2] * 4, value=torch.inf)
    return (padded[:, :, y : y + height, x : x + width] for y in range(n) for x in range(n))


def shifts(fake, real, n):
    return torch.stack([(fake - other).abs().sum(1) for other in shifted(real, n)]).amin(0).mean()


def stacked(fake, real, n):
    return (fake - torch.stack(list(shifted(real, n)))).abs().sum(2).amin(0).mean()


def step(loss, fake, real, n):
    fake = fake.detach().requires_grad_()
    value = loss(fake, real, n)
    return value.detach(), torch.autograd.grad(value, fake)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    n = 3
    fake, real = torch.randn(SHAPE).relu(), torch.randn(SHAPE).relu()
    last = [x.contiguous(memory_format=torch.channels_last) for x in (fake, real)]
    cases = {
        "shifts": lambda: step(shifts, fake, real, n),
        "stacked": lambda: step(stacked, fake, real, n),
        "ours": lambda: step(nearest_neighbour_loss, fake, real, n),
        "ours, channels last": lambda: step(nearest_neighbour_loss, *last, n),
    }
    expected = step(shifts, fake.double(), real.double(), n)
    times = take_turns(cases, options.seconds, options.clock)
    rounds = len(times["ours"])
    print(f"{SHAPE}, n = {n}, float32, {options.threads} threads, {options.clock} time, {rounds} rounds")
    titles = ("median ms", "best ms", "shifts / it", "stacked / it", "value err", "grad err", "MB")
    print(f"{'':20}" + "".join(f"{title:>13}" for title in titles))
    for name, work in cases.items():
        value, gradient = work()
        figures = (
            f"{1e3 * statistics.median(times[name]):.1f}",
            f"{1e3 * min(times[name]):.1f}",
            f"{ratio(times['shifts'], times[name]):.2f}",
            f"{ratio(times['stacked'], times[name]):.2f}",
            f"{(value.double() - expected[0]).abs() / expected[0]:.1e}",
            f"{(gradient.double() - expected[1]).abs().max() / expected[1].abs().max():.1e}",
            f"{peak_bytes(work) / 1e6:.0f}",
        )
        print(f"{name:20}" + "".join(f"{figure:>13}" for figure in figures))
    grown = {k: peak_bytes(lambda k=k: step(nearest_neighbour_loss, *last, k)) / 1e6 for k in (1, 3, 5, 7)}
    print("Our memory by n, channels last:", ", ".join(f"n = {k}: {size:.1f} MB" for k, size in grown.items()))
    rate, once = copy_rate(), 6 * fake.nbytes  # two maps read forward, two backward; gathered map and slope written
    limit, best = once / rate, min(times["ours, channels last"])
    print(f"Limit: {3 * n * n * fake.numel() / 1e6:.0f} MFLOP are little. {once / 1e6:.0f} MB, every map crossing")
    print(f"memory once, at the {rate / 1e9:.1f} GB/s of a copy: {1e3 * limit:.1f} ms. Our best is", end=" ")
    print(f"{best / limit:.1f} times that.")


if __name__ == "__main__":
    main()
