"""What it costs that threads spin while they wait: a two-thread training alone and beside a busy process.

    python benchmarks/waiting.py [--seconds 20] [--threads 2] [--rounds 1]

Iterations a second by the clock of the generator's training (width .25, batch 4, raw patches) and of a small re-ID
network's, in a process of their own for each waiting policy of OpenMP (GNU's spins for a while by default), in turns.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product

# "spin (default)" is GNU's, not the package's: torch is imported before augment, which sets another.
POLICIES = {
    "spin (default)": {}, "sleep": {"OMP_WAIT_POLICY": "passive"},
    "spin 2000 times": {"GOMP_SPINCOUNT": "2000"}, "spin 5000 times": {"GOMP_SPINCOUNT": "5000"},
}  # fmt: skip
BUSY = "while True: pass"


def generator_step() -> Callable[[], None]:
    import torch
    from training_step import made_up_data

    from augment.config import GanConfig
    from augment.gan.trainer import Trainer

    cpu = torch.device("cpu")
    return Trainer(GanConfig(width=0.25, features="patches", device="cpu"), made_up_data(cpu), cpu).step


def reid_step() -> Callable[[], None]:
    import torch

    from augment.retrieval.networks import build_model

    model = build_model("osnet_x0_25", 100, "softmax", False, torch.device("cpu")).train()
    images, people = torch.randn(16, 3, 128, 64), torch.randint(0, 100, (16,))

    def step() -> None:
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(images), people).backward()

    return step


STEPS = {"generator": generator_step, "re-ID": reid_step}


def rate(what: str, seconds: float) -> float:
    """Iterations a second."""
    step = STEPS[what]()
    for _ in range(2):
        step()
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        step()
        count += 1
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--measure", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(rate(options.measure, options.seconds))
        return
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_WAIT", "GOMP_"))}
    print(f"{'':32}{'alone':>10}{'beside a busy process':>24}")
    for what in STEPS:
        found: dict[tuple[str, bool], list[float]] = {key: [] for key in product(POLICIES, (False, True))}
        for _ in range(options.rounds):
            for policy, busy in found:
                other = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
                command = [sys.executable, "-W", "ignore", __file__, "--measure", what, f"--seconds={options.seconds}"]
                environment = clean | POLICIES[policy] | {"OMP_NUM_THREADS": str(options.threads)}
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                found[policy, busy].append(float(done.stdout.split()[-1]))
                if other is not None:
                    other.kill()
                    other.wait()
        for policy in POLICIES:
            alone, beside = (max(found[policy, busy]) for busy in (False, True))
            print(f"{what + ', ' + policy:32}{alone:10.2f}{beside:24.2f}", flush=True)


if __name__ == "__main__":
    main()
