"""The functions that compute the losses, as they are or compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from cotasp.agents.losses import actor_loss, critic_loss
from cotasp.agents.precision import product_precision

if TYPE_CHECKING:
    from cotasp.modules.ensembles import Ensemble

# What one process may compile of a function: by default torch gives up after 8 sizes.
_LIMITS = {"recompile_limit": 4096, "accumulated_recompile_limit": 4096}


class LossFunctions(NamedTuple):
    """`critic_loss` and `actor_loss`, or what computes the same."""

    critic_loss: Callable
    actor_loss: Callable


PLAIN = LossFunctions(critic_loss, actor_loss)


@contextmanager
def loss_functions(precision: str, compiled: bool) -> Iterator[LossFunctions]:
    """What computes the losses, plain or compiled; inside, products have a precision.

    Args:
        precision: see `product_precision`.
        compiled: pays for weights; codes are in training too seldom.
    """
    with ExitStack() as stack:
        stack.enter_context(product_precision(precision))
        for patch in _patches() if compiled else ():
            stack.enter_context(patch)
        yield _compiled() if compiled else PLAIN


def width_multiple(compiled: bool, precision: str, device: torch.device) -> int:
    """Of which the widths of sub-networks in training are, since every new width has its price."""
    if compiled or device.type == "cuda":
        return 64  # all four together are compiled for, or captured as a CUDA graph
    return 32 if precision == "bfloat16" else 1  # oneDNN's tiles; it keeps code for each


class Compiled:
    """A loss compiled for every size that it meets, until that fails: then as it was.

    Args:
        function: of critics first; without effects: it is called again where compiling failed.
    """

    def __init__(self, function: Callable) -> None:
        self.function = function
        # never with sizes left open: what a run computes would depend on the sizes met before
        self.compiled: Callable | None = torch.compile(function, fullgraph=True, dynamic=False)

    def __call__(self, critics: Ensemble, *args: Any) -> Any:
        from torch._dynamo.exc import TorchDynamoException

        if self.compiled is not None and critics.compiles:
            try:
                return self.compiled(critics, *args)
            except TorchDynamoException as error:
                self.compiled = None
                reason = " ".join(str(error).strip().split("\n")[:2])
                warnings.warn(
                    f"recipe.agent.compile: {self.function.__name__} could not be compiled, so "
                    f"training goes on without, right but slower; it takes a C++ compiler, such as "
                    f"g++, and on a GPU Triton; compile=false ends this warning ({reason})",
                    stacklevel=2,
                )
        return self.function(critics, *args)


@cache
def _compiled() -> LossFunctions:
    # inductor's advice on CUDA, against what `precision` asks for
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
    return LossFunctions(*map(Compiled, PLAIN))


@cache
def _patches() -> tuple:
    """Of torch's settings while compiled functions are called, made once: torch keeps each."""
    import torch._dynamo
    import torch._functorch.config

    # gradients are compiled along, so that what fails does so in the call
    gradients_too = torch._functorch.config.patch(force_non_lazy_backward_lowering=True)
    return torch._dynamo.config.patch(_LIMITS), gradients_too
