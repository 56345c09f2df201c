"""A small share of the trials; ``make trials`` runs all of them (docs/reliability.md). Kills: test_interruption.py."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_share_of_every_trial():
    run = Path(__file__).with_name("run.py")
    arguments = ["flips:0.005", "mutants:0.03", "writes:0.0035"]
    done = subprocess.run([sys.executable, run, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
