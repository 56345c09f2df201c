"""Inference with a trained generator, for synthetic images, metrics, comparisons, studies and samples alike."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from augment.base.errors import AugmentError
from augment.config import GanConfig
from augment.gan.checkpoints import Weights, load_generator
from augment.gan.dataset import to_network, to_uint8
from augment.gan.networks import Generator
from augment.manifest import Manifest

Inputs = tuple[Tensor, Tensor, Tensor]  # sources (B, H, W, 3) uint8, their joints (B, J, 2), target joints


class BatchedGenerator:
    """A trained generator that is always run on batches of the same size.

    Kernels are chosen by batch size and round differently: the last batch is padded with its last image, so that an
    image does not depend on the others it is generated with.
    """

    def __init__(self, network: Generator, config: GanConfig, device: torch.device, batch_size: int, *,
                 precision: Literal["fp32", "bf16"] = "fp32", compile: bool = False) -> None:  # fmt: skip
        """``network`` and ``config``: from :func:`load_generator`. ``compile``: use torch.compile."""
        self.config, self.device, self.batch_size = config, device, batch_size
        self.image_size: tuple[int, int] = network.image_size  # (H, W)
        self._network = torch.compile(network, dynamic=False) if compile else network
        self._bf16 = precision == "bf16"

    @classmethod
    def load(cls, weights: Path, device: torch.device, batch_size: int = 32, *, which: Weights = "average",
             size: tuple[int, int] | None = None, **options: object) -> "BatchedGenerator":  # fmt: skip
        """The generator of a weights file; ``options`` as for the constructor.

        Raises :class:`AugmentError` where the file cannot be used, or makes images of another ``size`` (H, W).
        """
        network, config = load_generator(weights, weights=which, device=device)
        if size is not None and network.image_size != tuple(size):
            made, wanted = ("x".join(map(str, shape)) for shape in (network.image_size, size))
            raise AugmentError(f"{weights}: generates images of {made}, not of {wanted}.")
        return cls(network, config, device, batch_size, **options)

    def generate(self, source: UInt8[Tensor, "N H W 3"], source_joints: Float[Tensor, "N J 2"],
                 target_joints: Float[Tensor, "N J 2"]) -> UInt8[np.ndarray, "N H W 3"]:  # fmt: skip
        """N sources in other poses; joints in pixels of the images, NaN where missing."""
        tensors = [tensor.to(self.device) for tensor in (source, source_joints, target_joints)]
        return np.concatenate([*self.batches(len(source), lambda index: tuple(tensor[index] for tensor in tensors))])

    def batches(self, count: int, inputs: Callable[[Tensor], Inputs]) -> Iterator[np.ndarray]:
        """Yield ``count`` images in order, (b, H, W, 3) uint8 at a time; ``inputs`` gathers those of indices (B,).

        Indices and what ``inputs`` returns are on the generator's device. On CUDA the next batch is generated while the
        caller uses this one; a copy to the device in ``inputs`` would synchronise with it.
        """
        if not count:
            return
        filled = torch.arange(-(-count // self.batch_size) * self.batch_size).clamp(max=count - 1).to(self.device)
        waiting: list[tuple[Tensor, torch.cuda.Event | None]] = []
        for start, index in zip(range(0, count, self.batch_size), filled.split(self.batch_size), strict=True):
            waiting.append(_to_host(self._run(*inputs(index))[: count - start]))
            if len(waiting) > 1:
                yield _arrived(*waiting.pop(0))
        yield _arrived(*waiting.pop())

    @torch.inference_mode()
    def _run(self, source: Tensor, source_joints: Tensor, target_joints: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            return to_uint8(self._network(to_network(source), source_joints, target_joints))


def last_weights(checkpoints: Manifest) -> tuple[Path, str]:
    """File and SHA-256 of the weights of the last iteration. Raises :class:`AugmentError` where there are none."""
    rows = [row for row in checkpoints.table.to_pylist() if row["role"] == "last" and row["status"] == "ok"]
    if not rows:
        raise AugmentError(f"{checkpoints.path}: holds no finished generator. Train one first: augment gan train.")
    return checkpoints.file_of(rows[0]["path"]), rows[0]["sha256"]


def _to_host(images: Tensor) -> tuple[Tensor, "torch.cuda.Event | None"]:
    if images.device.type != "cuda":
        return images, None
    host = torch.empty(images.shape, dtype=images.dtype, pin_memory=True).copy_(images, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(images.device))  # shards in other threads have another current device
    return host, copied


def _arrived(host: Tensor, copied: "torch.cuda.Event | None") -> np.ndarray:
    if copied is not None:
        copied.synchronize()
    return host.numpy()
