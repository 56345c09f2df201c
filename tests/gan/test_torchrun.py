"""Several processes on one training (gloo): the same as one process, killed, restarted, and gone on with by others."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gan.tiny_run import TINY, make_run

from augment.gan.checkpoints import load_generator
from augment.gan.stage import train_gan
from augment.gan.trainer import Trainer
from augment.manifest import Manifest

pytestmark = pytest.mark.slow

SCRIPT = """
import os, shutil, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from tiny_run import TINY
from augment.gan.stage import train_gan
from augment.gan.trainer import Trainer
from augment.manifest import Manifest
step = Trainer.step
def killed_once(self):
    if self.iteration == {kill_at} and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        shutil.copytree({folder!r}, {folder!r} + "-as-left", ignore=shutil.ignore_patterns("*.partial"))
        os.kill(os.getpid(), signal.SIGKILL)
    step(self)
Trainer.step = killed_once
inputs = [Manifest(Path({run!r}) / kind / f"{{kind}}.parquet") for kind in ("images", "poses", "pairs")]
train_gan(TINY.model_copy(update={update!r}), *inputs, Path({folder!r}))
"""
LOSSES = ["discriminator", "generator_adversarial", "generator_reconstruction"]
SECTION = TINY.model_copy(update={"width": 1 / 8, "batch_size": 4, "log_every": 1, "iterations": 6})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_run(folder)
    return folder


def inputs(run: Path) -> list[Manifest]:
    return [Manifest(run / kind / f"{kind}.parquet") for kind in ("images", "poses", "pairs")]


def torchrun(run: Path, folder: Path, processes: int, kill_at: int = -1, restarts: int = 0, **update) -> str:
    """Train in so many processes; returns what torchrun wrote.

    The second process may be killed before an iteration; what lies in the folder by then is copied beside it.
    """
    values = {name: getattr(SECTION, name) for name in ("width", "batch_size", "log_every", "iterations")} | update
    text = SCRIPT.format(here=str(Path(__file__).parent), run=str(run), folder=str(folder), update=values,
                         kill_at=kill_at)  # fmt: skip
    folder.mkdir()
    (folder.parent / f"{folder.name}.py").write_text(text)
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
         f"--max-restarts={restarts}", folder.parent / f"{folder.name}.py"],
        capture_output=True, text=True, timeout=900, check=False,
        # Else restarted processes look for each other at the addresses of those that are gone (torch 2.13).
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stderr


def losses_of(folder: Path) -> pd.DataFrame:
    return pd.read_json(folder / "log.jsonl", lines=True).set_index("iteration")[LOSSES]


def distance(folder: Path, reference: Path, iterations: int) -> float:
    """Length of the difference of all weights over the length of the weights."""
    name = f"weights-{iterations:06d}.safetensors"
    ours, theirs = (load_generator(place / name, weights="raw")[0].state_dict() for place in (folder, reference))
    difference = sum(float((ours[name] - theirs[name]).square().sum()) for name in ours)
    return (difference / sum(float(tensor.square().sum()) for tensor in theirs.values())) ** 0.5


@pytest.mark.server
def test_how_far_processes_are_apart_after_fifty_iterations(run, tmp_path):
    """Prints the figures of docs/scaling-out.md: pytest -m server -s tests/gan/test_torchrun.py"""
    section = SECTION.model_copy(update={"iterations": 50, "checkpoint_every": 50})
    train_gan(section, *inputs(run), tmp_path / "alone")
    alone = losses_of(tmp_path / "alone")
    for processes in (2, 4):
        folder = tmp_path / f"by{processes}"
        torchrun(run, folder, processes, iterations=50, checkpoint_every=50)
        apart = ((losses_of(folder) - alone).abs() / alone.abs()).max(axis=1)
        weights = distance(folder, tmp_path / "alone", 50)
        print(f"{processes} processes: losses apart by {apart[1]:.1e} at iteration 1, {apart[10]:.1e} at 10, "
              f"{apart[50]:.1e} at 50; weights by {weights:.1e} of their length")  # fmt: skip
        assert apart[1] < 1e-4 and weights < 0.1


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory) -> Path:
    """The folder of a training by two processes."""
    folder = tmp_path_factory.mktemp("torchrun") / "undisturbed"
    torchrun(run, folder, 2)
    return folder


def test_two_processes_train_like_one(run, undisturbed, tmp_path):
    train_gan(SECTION, *inputs(run), tmp_path)
    shared, alone = losses_of(undisturbed), losses_of(tmp_path)
    assert len(shared) == len(alone) == 6
    np.testing.assert_allclose(shared[:4], alone[:4], rtol=1e-4, atol=1e-4)


def test_a_killed_process_restarts_all_from_the_last_checkpoint_and_one_process_may_go_on(
    run, undisturbed, tmp_path, monkeypatch
):
    said = torchrun(run, tmp_path / "killed", 2, kill_at=5, restarts=1)
    assert "gan: resuming after iteration 4 of 6." in said
    names = sorted(file.name for file in undisturbed.glob("*.safetensors"))
    assert "weights-000006.safetensors" in names
    for name in names:
        assert (tmp_path / "killed" / name).read_bytes() == (undisturbed / name).read_bytes()

    ours, left = [], tmp_path / "killed-as-left"
    monkeypatch.setattr(Trainer, "step", lambda self, step=Trainer.step: ours.append(self.iteration) or step(self))
    train_gan(SECTION, *inputs(run), left)  # one process: the four iterations of two count
    assert ours == [4, 5]
    np.testing.assert_allclose(losses_of(left), losses_of(undisturbed), rtol=1e-3, atol=1e-3)
    assert distance(left, undisturbed, 6) < 1e-3
