"""Where tensors live."""

import os

import torch

from augment.errors import UsageError


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU; under torchrun each process has its own.

    Raises :class:`UsageError` for a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device={name}: no such kind of device. Use auto, cpu or cuda.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device={name}: this PyTorch sees no CUDA device. Use device=cpu, or install a CUDA build.")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return device
