"""A small share of the trials, at another place each; ``make trials`` runs all of them (docs/reliability.md)."""

import subprocess
import sys
from pathlib import Path

import pytest

# trial -> the share that takes some seconds; the kills of whole runs are in test_interruption.py
SHARES = {"flips": 0.005, "mutants": 0.02, "writes": 0.04, "kills": 0.04}


@pytest.mark.slow
def test_a_share_of_every_trial():
    run = Path(__file__).with_name("run.py")
    for trial, share in SHARES.items():
        only = ["--only", "local"] if trial == "kills" else []
        arguments = [trial, "--share", str(share), *only]
        done = subprocess.run([sys.executable, run, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
