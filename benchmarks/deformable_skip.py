"""Deformable skips of all four levels, forward and backward, against ten masked grid samples.

    python benchmarks/deformable_skip.py [--annotations FILE.csv] [--threads 2] [--clock wall|cpu] [--seconds 40]

A batch of eight pairs of real poses (the published key points; random ones where the file is not there: it says so).
Both sides make their sampling positions or lists from the same matrices and masks, and that time is counted.
"""

import argparse
import os
import statistics
from pathlib import Path

import numpy as np
import torch
from timing import copy_rate, peak_bytes, ratio, take_turns
from torch.nn import functional

from augment.gan.kernels import gather
from augment.gan.regions import deformation
from augment.pose.annotations import read_posegan_csv

IMAGE = (128, 64)
LEVELS = [(64, 128, 64), (128, 64, 32), (256, 32, 16), (512, 16, 8)]
BATCH = 8


def real_poses(path, count=2 * BATCH):
    """So many poses with a torso, or None."""
    if path is None or not path.exists():
        return None
    frame = read_posegan_csv(path)
    poses = np.stack([np.stack(xy, axis=1) for xy in zip(frame["x"][:2000], frame["y"][:2000], strict=True)])
    usable = poses[~np.isnan(poses[:, [2, 5, 8, 11]]).any(axis=(1, 2))]
    chosen = np.random.default_rng(0).permutation(len(usable))[:count]
    return torch.from_numpy(usable[chosen]).float()


def loop(features, sampling, masks, valid):
    """One grid sample a region, multiplied by its mask; positions are whole pixels, rounded as gan/warp.py says."""
    h, w = features.shape[2:]
    y, x = torch.arange(h, dtype=torch.float64)[:, None], torch.arange(w, dtype=torch.float64)
    positions = sampling.permute(2, 3, 0, 1)[..., None, None]
    row, column, inside = gather._source_pixels(positions, y, x, IMAGE, (h, w))
    grid = torch.stack((column * 2 / (w - 1) - 1, row * 2 / (h - 1) - 1), dim=-1).float()
    grid = torch.where(inside[..., None], grid, -9.0)
    keep = gather._level_masks(masks, (h, w)) & valid[..., None, None]
    moved = None
    for region in range(masks.shape[1]):
        sample = functional.grid_sample(
            features, grid[:, region], mode="nearest", padding_mode="zeros", align_corners=True
        )
        sample = sample * keep[:, region, None]
        moved = sample if moved is None else torch.maximum(moved, sample)
    return moved


def backward(outputs, features, weights):
    return [torch.autograd.grad(o, f, g)[0] for o, f, g in zip(outputs, features, weights, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path(os.environ.get("MARKET1501_ANNOTATIONS", "../data"))
    parser.add_argument("--annotations", type=Path, default=folder / "market-annotation-train.csv")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--seconds", type=float, default=40)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    poses = real_poses(options.annotations)
    kind = "real"
    if poses is None:
        kind, poses = "random (no annotation file)", torch.rand(2 * BATCH, 18, 2) * torch.tensor([64.0, 128.0])
    matrices, masks, valid = deformation(poses[:BATCH], poses[BATCH:], IMAGE)
    sizes = [level[1:] for level in LEVELS]
    plain = [torch.randn(BATCH, *level, requires_grad=True) for level in LEVELS]
    last = [f.detach().contiguous(memory_format=torch.channels_last).requires_grad_() for f in plain]
    weights = [torch.randn_like(f) for f in plain]
    weights_last = [g.contiguous(memory_format=torch.channels_last) for g in weights]

    def reference():
        sampling, _ = gather._inverse_affine(matrices)
        outputs = [loop(f, sampling, masks, valid) for f in plain]
        return outputs, backward(outputs, plain, weights)

    def ours(features, gradients):
        plan = gather.plan_deformation(matrices, masks, valid, IMAGE, sizes)
        outputs = [gather.apply_plan(plan, f) for f in features]
        return outputs, backward(outputs, features, gradients)

    cases = {
        "ten grid samples": reference,
        "ours": lambda: ours(plain, weights),
        "ours, channels last": lambda: ours(last, weights_last),
        "  of which the lists": lambda: gather.plan_deformation(matrices, masks, valid, IMAGE, sizes),
    }
    times = take_turns(cases, options.seconds, options.clock)
    print(f"batch of {BATCH} {kind} poses, levels {LEVELS}, float32")
    print(f"{options.threads} threads, {options.clock} time, {len(times['ours'])} rounds")
    print(f"{'':22}{'median ms':>10}{'best ms':>9}{'loop / it':>11}{'value err':>11}{'grad err':>10}{'MB':>6}")
    expected = reference()
    for name, work in cases.items():
        line = f"{name:22}{1e3 * statistics.median(times[name]):10.1f}{1e3 * min(times[name]):9.1f}"
        if not name.startswith(" "):
            result = work()
            errors = [
                max((a - b).abs().max().item() for a, b in zip(*pair, strict=True))
                for pair in zip(result, expected, strict=True)
            ]
            line += f"{ratio(times['ten grid samples'], times[name]):11.2f}{errors[0]:11.1e}{errors[1]:10.1e}"
            line += f"{peak_bytes(work) / 1e6:6.0f}"
        print(line)
    touched, rate = 4 * sum(f.nbytes for f in plain), copy_rate()
    share = masks[:, 1:].float().mean((0, 2, 3)).sum() * 100
    limit, best = touched / rate, min(times["ours, channels last"])
    print(f"Head and limbs together cover {share:.0f} % of the image. Limit: {touched / 1e6:.0f} MB (map and gradient,")
    print(f"in and out) at the {rate / 1e9:.1f} GB/s of a copy: {1e3 * limit:.1f} ms.", end=" ")
    print(f"Our best is {best / limit:.1f} times that.")


if __name__ == "__main__":
    main()
