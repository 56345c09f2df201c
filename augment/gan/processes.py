"""The processes of a training under torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn


def rank() -> int:
    """Rank of this process; 0 where it is the only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average_gradients(network: nn.Module) -> None:
    """Make each gradient the mean over the processes. DistributedDataParallel does so only in its own backward pass."""
    if world_size() > 1:
        for gradient in [parameter.grad for parameter in network.parameters() if parameter.grad is not None]:
            dist.all_reduce(gradient)
            gradient /= world_size()


def barrier() -> None:
    """Wait for the other processes."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """The process group where torchrun started several processes (NCCL on CUDA, gloo elsewhere)."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
