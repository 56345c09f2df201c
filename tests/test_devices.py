"""Which device is picked, played through on a machine that need not have one."""

import subprocess
import sys

import pytest
import torch

from augment.base.devices import cpu_threads, denormals_flushed, pick_device
from augment.base.errors import UsageError


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two CUDA devices that nobody has touched; yields what was made current."""
    chosen = []
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: bool(chosen))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_the_first_is_taken_without_starting_cuda(two_gpus):
    assert pick_device("auto") == pick_device("cuda") == pick_device("cuda:0") == torch.device("cuda:0")
    assert two_gpus == []


def test_another_becomes_the_current_one_and_the_first_again_after_it(two_gpus):
    pick_device("cuda:1")
    pick_device("cuda:0")
    assert two_gpus == [torch.device("cuda:1"), torch.device("cuda:0")]


def test_under_torchrun_each_process_has_its_own(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == torch.device("cuda:1")
    assert two_gpus == [torch.device("cuda:1")]


def test_what_is_not_there_is_named(two_gpus, monkeypatch):
    with pytest.raises(UsageError, match=r"device=cuda:2: there is no such CUDA device here; the last is cuda:1"):
        pick_device("cuda:2")
    with pytest.raises(UsageError, match=r"device=gpu: no such kind of device\. Use auto, cpu or cuda\."):
        pick_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="device=cuda: this PyTorch sees no CUDA device"):
        pick_device("cuda")
    assert pick_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(("given", "expected"), [
    ({}, "2000"), ({"OMP_WAIT_POLICY": "passive"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7"),
])  # fmt: skip
def test_waiting_threads_spin_shortly_unless_told_otherwise(monkeypatch, given, expected):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = "import augment, os, sys; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_numbers_that_are_too_small_are_zero_inside_the_block(threads):
    def product() -> torch.Tensor:
        return torch.full((64,), 1e-30) * 1e-10

    with cpu_threads(threads):
        with denormals_flushed():
            assert bool(product().any()) == (threads > 1)
            assert torch.full((64,), 1e-37).all()
        assert product().all()
