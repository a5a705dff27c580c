"""CUDA graphs: many small kernels, launched at the price of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_WARM_UP = 3  # calls before the capture: libraries set themselves up in the first ones

Function = Callable[..., dict[str, Tensor]]


class CapturedGraph:
    """A function of tensors as a CUDA graph, for arguments of the same shapes.

    Whatever else the function reads and writes must stay where it is; what it does in Python alone
    is done while the graph is captured and never again.

    Args:
        function: called a few times with the arguments, with all its effects.
        arguments: on a CUDA device.
    """

    def __init__(self, function: Function, arguments: Sequence[Tensor]) -> None:
        self.arguments = [argument.clone() for argument in arguments]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                function(*self.arguments)
        torch.cuda.current_stream().wait_stream(beside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.results = function(*self.arguments)

    def __call__(self, *arguments: Tensor) -> dict[str, Tensor]:
        """The function's results, which the next call overwrites."""
        torch._foreach_copy_(self.arguments, arguments)
        self.graph.replay()
        return self.results
