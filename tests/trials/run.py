"""Trials by the thousand: ``python tests/trials/run.py [flips|mutants|writes|kills ...] [--share 0.1] [--seed 0]``.

The whole of it: 1,000 flips of every kind of file, 1,000 mutants of every format, every write fails once, 100 kills of
each engine. ``flips:0.01 mutants:0.1`` gives each trial its own share.
Exit code 1 where one attempt fails: an internal error, a hang, or other figures without a word.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # of many threads a forked child would miss all but one
sys.path.insert(0, str(Path(__file__).parent))

import faults
import flips
import kills
import mutants
import writes
from harness import Golden, Tally

# name -> what does it, and how many there are in all; of writes as many as there are
TRIALS = {
    "flips": (flips.trial, 1000), "mutants": (mutants.trial, 1000), "writes": (writes.trial, None),
    "kills": (kills.trial, 100),
}  # fmt: skip


def main() -> int:
    """Run the trials that are named, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", nargs="*", default=list(TRIALS), metavar="TRIAL[:SHARE]")
    parser.add_argument("--share", type=float, default=1.0, help="of the full counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    parser.add_argument("--first", type=int, default=0, help="number of the first attempt, to repeat one")
    chosen = parser.parse_args()
    shares = {name: float(share or chosen.share) for name, _, share in (text.partition(":") for text in chosen.trials)}
    if unknown := set(shares) - set(TRIALS):
        parser.error(f"{', '.join(unknown)}: no such trial; there are {', '.join(TRIALS)}")
    faults.install()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="trials-") as scratch:
        work = Path(scratch)
        golden = Golden.make(work / "golden")
        for name, share in shares.items():
            trial, count = TRIALS[name]
            tally = Tally(chosen.seed)
            print(f"\n{name}", flush=True)
            amount = share if count is None else max(1, round(count * share))
            trial(golden, work / "trial", tally, amount, chosen.only, chosen.first)
            tally.show()
            failed += tally.failures
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
