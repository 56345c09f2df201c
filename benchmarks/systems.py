"""What one training iteration of each system costs: seconds, taken in turns, and how many fit in half an hour.

    python benchmarks/systems.py [--width 0.25] [--batch 4] [--rounds 10] [--vgg FILE]

Processor seconds of one thread, so that a machine that does other things as well gives nearly the same figures.
"""

import argparse
import statistics
import time

import torch
from training_step import made_up_data

from augment.config import GanConfig
from augment.gan.networks import count_parameters
from augment.gan.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--vgg", help="file of VGG-19's weights, its name saying what they were trained with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    features = ["vgg19", "vgg19+rgb"] if options.vgg else ["patches"]
    cases = {"baseline": ("baseline", features[0]), "dsc": ("dsc", features[0]), "percloss": ("percloss", features[0])}
    cases |= {f"full, {kind}": ("full", kind) for kind in features}
    data = made_up_data(torch.device("cpu"))
    trainers = {
        name: Trainer(
            GanConfig(
                fidelity="released", width=options.width, batch_size=options.batch, system=system, features=kind,
                vgg_weights=options.vgg),
            data, torch.device("cpu"))
        for name, (system, kind) in cases.items()
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(2 + options.rounds):
        for name, trainer in trainers.items():
            start = time.process_time()
            trainer.step()
            if turn >= 2:
                times[name].append(time.process_time() - start)
    print(f"{'':18}{'generator':>14}{'s/iteration':>14}{'in 30 minutes':>16}")
    for name, trainer in trainers.items():
        typical = statistics.median(times[name])
        print(f"{name:18}{count_parameters(trainer.generator):14,}{typical:14.3f}{1800 / typical:16,.0f}")


if __name__ == "__main__":
    main()
