"""A function of tensors as one CUDA graph."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from augment.base.progress import say


class Captured:
    """Replays a function of fixed-size tensors as one CUDA graph, so that launching kernels costs nothing.

    The first calls run as they are: they choose kernels, compile, and fill the optimisers. The next is captured. With
    ``fall_back``, where a device or driver refuses that, this is said and all calls run as they are.
    """

    WARM_UP = 3

    def __init__(self, function: Callable[..., None], device: torch.device, *, fall_back: bool = False):
        self.function = function
        self.fall_back = fall_back
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.stream = torch.cuda.Stream(device)

    def __call__(self, *inputs: Tensor) -> None:
        """What the function does, on these inputs."""
        if self.calls < self.WARM_UP:
            self.calls += 1
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self.function(*inputs)
            torch.cuda.current_stream().wait_stream(self.stream)
            return
        if self.calls == self.WARM_UP:
            self.calls += 1
            self._capture(inputs)
        if self.graph is None:
            self.function(*inputs)
            return
        for kept, new in zip(self.inputs, inputs, strict=True):
            kept.copy_(new)
        self.graph.replay()

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        self.inputs = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.function(*self.inputs)
        except RuntimeError as error:
            if not self.fall_back:
                raise
            say(f"gan: no CUDA graph could be captured here ({str(error).splitlines()[0]}); training goes on without.")
            return
        self.graph = graph
