"""What training asks of a GPU, held against a budget on machines that have none; and geometry made ahead of time."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_run import TINY, make_run

from augment.base.devices import pick_device
from augment.base.errors import UsageError
from augment.config import SynthesisConfig
from augment.gan import cuda_graph
from augment.gan import trainer as trainer_module
from augment.gan.cuda_graph import Captured
from augment.gan.dataset import load_pair_data
from augment.gan.kernels import gather
from augment.gan.trainer import Trainer
from augment.synthesis.stage import _batch_size

FAKE = Path(__file__).parent / "fake_cuda"
TORCH = Path(torch.__file__).parent
CPU = torch.device("cpu")
# Kernels of an iteration on average; geometry made anew in each would add 700 to 850.
BUDGET = {"full/modern/bf16": 1350, "dsc/paper/fp32": 750}


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    if torch.version.cuda or not shutil.which("c++"):
        pytest.skip("needs a torch without CUDA and a C++ compiler")
    library = tmp_path_factory.mktemp("fake") / "libfakecuda.so"
    compile = ["c++", "-std=c++20", "-O0", "-fPIC", "-shared", f"-I{TORCH}/include", FAKE / "device.cpp", "-o", library,
               f"-L{TORCH}/lib", "-lc10", "-ltorch_cpu"]  # fmt: skip
    subprocess.run(compile, check=True)
    command = [sys.executable, "-W", "ignore", FAKE / "count.py", library, *BUDGET]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", BUDGET)
def test_an_iteration_never_waits_for_the_device_and_keeps_to_its_budget(counts, case):
    found = counts[case]
    assert {part: found[part]["waits"] for part in ("iteration", "planning", "restored", "penalty", "generation")} == {
        "iteration": 0, "planning": 0, "restored": 0, "penalty": 0, "generation": 0,
    }  # fmt: skip
    # The numbers of the pairs go to the device, and with a new plan those of all its pairs; nothing comes back.
    assert found["iteration"]["copies"] == found["restored"]["copies"] == 1 and found["planning"]["copies"] == 2
    assert 0.9 * BUDGET[case] < found["kernels_on_average"] <= BUDGET[case]


@pytest.fixture
def data(tmp_path):
    return load_pair_data(TINY, *make_run(tmp_path), CPU)


def trained(data, self_pairs, iterations=5):
    trainer = Trainer(TINY.model_copy(update={"self_pairs": self_pairs}), data, CPU)
    for _ in range(iterations):
        trainer.step()
    return trainer


@pytest.mark.parametrize("self_pairs", [0, 0.5])
def test_geometry_made_for_many_iterations_at_once_changes_nothing(data, monkeypatch, self_pairs):
    usual = trained(data, self_pairs)
    for module in (gather, trainer_module):
        monkeypatch.setattr(module, "plans_are_tables", lambda device: True)
    monkeypatch.setattr(trainer_module, "PLANNED_PIXELS", 1)
    one_by_one = trained(data, self_pairs)
    monkeypatch.setattr(trainer_module, "PLANNED_PIXELS", 3 * TINY.batch_size * data.images[0, ..., 0].numel())
    together = trained(data, self_pairs)
    assert (one_by_one._planned, together._planned, together._plans[0]) == (1, 3, 1)
    for parameter, expected in zip(one_by_one.generator.parameters(), together.generator.parameters(), strict=True):
        assert torch.equal(parameter, expected)
    for parameter, expected in zip(usual.generator.parameters(), together.generator.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-4)  # sums in another order, through Adam


class Refused:
    """In the place of torch.cuda.graph: what a driver does that cannot capture."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        raise RuntimeError("operation not permitted when stream is capturing")

    def __exit__(self, *_):
        return False


@pytest.mark.parametrize("fall_back", [True, False])
def test_without_a_graph_training_goes_on_unless_one_was_asked_for(monkeypatch, fall_back):
    class Stream(Refused):
        __enter__ = __exit__ = wait_stream = lambda self, *_: None

    for name, stand_in in (("graph", Refused), ("CUDAGraph", Refused), ("Stream", Stream), ("stream", Stream)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    said, calls = [], []
    monkeypatch.setattr(cuda_graph, "say", said.append)
    work = Captured(lambda tensor: calls.append(tensor.item()), CPU, fall_back=fall_back)
    for value in range(Captured.WARM_UP):
        work(torch.tensor(value))
    if fall_back:
        work(torch.tensor(3))
        work(torch.tensor(4))
        assert calls == [0, 1, 2, 3, 4] and len(said) == 1 and "not permitted" in said[0]
    else:
        with pytest.raises(RuntimeError, match="not permitted"):
            work(torch.tensor(3))
        assert calls == [0, 1, 2]


def test_processes_of_torchrun_do_not_share_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"device=cuda:0: .* 2 processes.*device=cuda"):
        pick_device("cuda:0")


def test_a_batch_of_generation_is_larger_on_cuda_unless_it_is_given():
    devices = CPU, torch.device("cuda")
    assert [_batch_size(SynthesisConfig(), device) for device in devices] == [32, 256]
    assert [_batch_size(SynthesisConfig(batch_size=7), device) for device in devices] == [7, 7]
