"""A training iteration in bf16, networks and VGG features, against the same in fp32: gan.precision.

    python benchmarks/precision.py --vgg FILE [--widths 0.25 0.5] [--batch 4] [--iterations 5]

Processor seconds an iteration on one thread (on CUDA: seconds), the two taken in turns, the least of each.
"""

import argparse

import torch
from training_step import made_up_data, seconds

from augment.config import GanConfig
from augment.gan.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vgg", required=True, help="file of VGG-19's weights, as for gan.vgg_weights")
    parser.add_argument("--widths", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = made_up_data(device)
    print("width   fp32 s   bf16 s   ratio")
    for width in arguments.widths:
        trainers = {
            precision: Trainer(
                GanConfig(width=width, batch_size=arguments.batch, vgg_weights=arguments.vgg,
                          precision=precision), data, device)
            for precision in ("fp32", "bf16")
        }  # fmt: skip
        best = dict.fromkeys(trainers, float("inf"))
        for _ in range(arguments.iterations + 1):  # the first compiles the loss and fills the optimisers
            for precision, trainer in trainers.items():
                best[precision] = min(best[precision], seconds(trainer.step, device))
        print(f"{width:<6g} {best['fp32']:7.3f}  {best['bf16']:7.3f}  {best['fp32'] / best['bf16']:6.2f}")


if __name__ == "__main__":
    main()
