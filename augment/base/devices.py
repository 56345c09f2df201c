"""The device that work runs on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from augment.base.errors import UsageError
from augment.base.memory import keep_freed


def available_memory() -> int | None:
    """Bytes that this process may still take: the machine's, or a container's if that has less; None: not known."""
    limits = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            limits.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):  # another system than Linux, or none of these files
        pass
    return min(limits, default=None)


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where available, else the CPU; under torchrun each process has its own device.

    A CUDA device also becomes the calling thread's current device, which new streams and graphs use; for a CPU the
    process keeps what it frees. Raises :class:`UsageError` for a device that does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device={name}: no such kind of device. Use auto, cpu or cuda.") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device={name}: is not supported. Use auto, cpu or cuda.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device={name}: this PyTorch sees no CUDA device. Use device=cpu, or install a CUDA build.")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if device.type == "cuda" and device.index is not None and processes > 1:
        raise UsageError(f"device={name}: torchrun has started {processes} processes here, which cannot share one GPU. "
                         "Set device=cuda: each then uses its own.")  # fmt: skip
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if device.index >= count:
            raise UsageError(f"device={device}: there is no such CUDA device here; the last is cuda:{count - 1}.")
        if device.index > 0 or torch.cuda.is_initialized():  # the first is current from the start
            torch.cuda.set_device(device)
    if device.type == "cpu":
        keep_freed()
    return device


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Inside the block PyTorch computes on ``count`` CPU threads; None: on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Inside the block numbers below 1e-38 count as 0, on which a processor would take many times as long.

    Only where PyTorch computes on one thread: it is a setting of the thread, and the others may have been there before.
    """
    if torch.get_num_threads() > 1:
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def timed_kernels() -> Iterator[None]:
    """Inside the block cuDNN benchmarks its algorithms for each new shape and uses the fastest.

    For work with recurring shapes whose results need not be bitwise reproducible.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
