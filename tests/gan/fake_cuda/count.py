# ruff: noqa: E402 -- the device has to be there before torch is imported
"""What a training iteration and a batch of generation ask of a GPU, counted without one; prints JSON by case.

    python count.py LIBRARY SYSTEM/FIDELITY/PRECISION...     # LIBRARY: device.cpp, compiled

Fake "cuda" tensors have shapes, types and a device but no values: whatever needs a value, another device or a kernel
that CUDA lacks raises or is counted. Not shown: numbers, speed, memory formats, graphs.
"""

import ctypes
import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

LIBRARIES = Path(importlib.util.find_spec("torch").origin).parent / "lib"
for library in (LIBRARIES / "libc10.so", LIBRARIES / "libtorch_cpu.so", sys.argv[1]):
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from augment.config import GanConfig
from augment.gan import networks, trainer
from augment.gan.dataset import PairData
from augment.gan.penalty import EVERY

CUDA = torch.device("cuda", 0)
SIZE, BATCH = (128, 64), 4
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "item", "unique")  # ask the device for values or shapes
NO_KERNELS = ("prim::", "aten::empty", "aten::new_empty", "aten::detach", "aten::scalar_tensor")


class Counted(TorchDispatchMode):
    """Kernels on the device, waits for it, copies to or from it."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter({"kernels": 0, "waits": 0, "copies": 0})

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.name()
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)}
        if "cuda" in devices:
            self.counts["waits"] += any(word in name for word in WAITS)
            self.counts["copies"] += len(devices) > 1 and "copy" in name
            self.counts["kernels"] += not function.is_view and not name.startswith(NO_KERNELS)
        return result


def counted(function, *arguments) -> dict[str, int]:
    with Counted() as mode:
        function(*arguments)
    return dict(mode.counts)


def replacing_to(module: nn.Module, device: torch.device, **_) -> nn.Module:
    """``Module.to`` for fake tensors, which cannot be put into a parameter that is there: by new parameters."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(parameter.detach().to(device), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.to(device)
    return module


def noise_on_device(generator: networks.Generator, count: int, _) -> list[Tensor]:
    """Random numbers need a generator of the device, and there is none: so many kernels, without numbers."""
    return [torch.empty((count, *shape), device=CUDA).fill_(0).mul_(2) for shape in generator.noise_shapes]


def measure(system: str, fidelity: str, precision: str) -> dict[str, dict[str, int]]:
    section = GanConfig(system=system, fidelity=fidelity, precision=precision, batch_size=BATCH, features="patches",
                        compile=False)  # fmt: skip
    rng = np.random.default_rng(0)
    images = torch.empty(50, *SIZE, 3, dtype=torch.uint8, device=CUDA)
    joints = torch.empty(50, 18, 2, device=CUDA)
    data = PairData(images, joints, rng.integers(0, 50, (400, 2)), rng.integers(0, 50, (8, 2)))
    training = trainer.Trainer(section, data, CUDA)
    training.step()  # fills the optimisers
    iteration = counted(training.step)
    training._plans = -1, {}
    planning = counted(training.step)
    training.restore(training.state())
    again = counted(training.step)
    training.iteration = EVERY
    penalty = counted(training.step)  # beside an iteration where the preset has none
    each = iteration["kernels"] + (planning["kernels"] - iteration["kernels"]) / training._planned
    each += (penalty["kernels"] - iteration["kernels"]) / EVERY
    return {"iteration": iteration, "planning": planning, "restored": again, "penalty": penalty, "generation":
            counted(training.generate, data.test), "kernels_on_average": each}  # fmt: skip


def main() -> None:
    nn.Module.to = replacing_to
    networks.Generator.sample_noise = noise_on_device
    trainer._to_device = lambda tensor, device: tensor.to(device)  # no pinned memory here
    random = torch.Generator
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.Generator = lambda device="cpu": random()
        torch.cuda.is_available = torch.cuda.is_bf16_supported = lambda *_: True  # so that autocast does its casts
        print(json.dumps({case: measure(*case.split("/")) for case in sys.argv[2:]}))


if __name__ == "__main__":
    main()
