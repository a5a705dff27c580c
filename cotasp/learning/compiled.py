"""The functions that compute the losses, as they are or compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from cotasp.learning.losses import actor_loss, critic_loss
from cotasp.learning.precision import product_precision

if TYPE_CHECKING:
    from cotasp.learning.sac import SAC

# Widths that one process may meet.  By default torch gives up compiling after 8.
_LIMITS = {"recompile_limit": 4096, "accumulated_recompile_limit": 4096}


class LossFunctions(NamedTuple):
    """`critic_loss` and `actor_loss`, or what computes the same."""

    critic_loss: Callable
    actor_loss: Callable


PLAIN = LossFunctions(critic_loss, actor_loss)


@cache
def _compiled() -> LossFunctions:
    # never with sizes left open: what a run computes would depend on the sizes met before
    return LossFunctions(*(torch.compile(f, fullgraph=True, dynamic=False) for f in PLAIN))


@contextmanager
def loss_functions(settings: SAC, phase: str) -> Iterator[LossFunctions]:
    """What computes the losses in a phase; its products have the settings' precision.

    Codes are in training too seldom, and on networks of other sizes, for compiling to pay.
    """
    with product_precision(settings.precision):
        if not settings.compile or phase != "theta":
            yield PLAIN
            return
        import torch._dynamo

        with torch._dynamo.config.patch(_LIMITS):
            yield _compiled()


def width_multiple(settings: SAC) -> int:
    """Of which the widths of sub-networks in training are, since every new width has its price."""
    if settings.compile:
        return 64  # each width is compiled for
    return 32 if settings.precision == "bfloat16" else 1  # oneDNN's tiles; it keeps code for each


def can_compile(device: str) -> bool:
    """Whether functions can be compiled for a device, found by trying; warns when not."""
    try:
        torch.compile(_probe)(torch.ones(8, device=device))
    except Exception as error:  # of torch, of the compiler, of what it includes
        reason = str(error).strip().split("\n")[0]
        warnings.warn(
            f"recipe.agent.compile: nothing can be compiled for this {device}, so training goes on "
            f"without, right but slower; install a C++ compiler, or end this warning by "
            f"compile=false ({reason})",
            stacklevel=2,
        )
        return False
    return True


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.exp() + 1.0
