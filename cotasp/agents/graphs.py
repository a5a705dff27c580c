"""CUDA graphs: many small kernels, launched at the price of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cotasp.errors import PluginError

_WARM_UP = 3  # calls before the capture: libraries set themselves up in the first ones

Function = Callable[..., dict[str, Tensor]]


class CapturedGraph:
    """A function of tensors as a CUDA graph, for arguments of the same shapes.

    Whatever else the function reads and writes must stay where it is; what it does in Python alone
    is done while the graph is captured and never again.

    Args:
        function: called a few times with the arguments, with all its effects.  No autograd graph of
            an earlier call may be alive, not even that of a view.
        arguments: on a CUDA device.

    Raises:
        RuntimeError, PluginError: the function does what cannot be captured; random numbers go on
            as before.
    """

    def __init__(self, function: Function, arguments: Sequence[Tensor]) -> None:
        self.arguments = [argument.clone() for argument in arguments]
        with torch.cuda.device(self.arguments[0].device):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UP):
                    function(*self.arguments)
            torch.cuda.current_stream().wait_stream(beside)
            self._capture(function)

    def _capture(self, function: Function) -> None:
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        before = generator.get_state()
        self.graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self.graph):
                self.results = function(*self.arguments)
        except (RuntimeError, PluginError):
            # it would go on believing that its numbers are for a graph
            fresh = torch.Generator(generator.device)
            fresh.set_state(before)
            generator.graphsafe_set_state(fresh.graphsafe_get_state())
            raise

    def __call__(self, *arguments: Tensor) -> dict[str, Tensor]:
        """The function's results, which the next call overwrites."""
        torch._foreach_copy_(self.arguments, arguments)
        self.graph.replay()
        return self.results
