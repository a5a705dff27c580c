"""Renewals: what keeps a network plastic by giving some of its weights new values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Network:
    """The network in training, as a renewal sees it.

    Args:
        weights: by parameter's name.
        fixed: true where a weight must not change; parameters that may are left out.
        units: of each hidden layer, the names of the parameters whose rows its units own, and
            those whose columns they own.
        activations: observations [n, m] to the hidden layers' outputs, [n, K_l] each.
        observations: [B, m], of the update's batch.
        fresh: a parameter's name to newly drawn weights of its shape, by `generator`.
        generator: random numbers of this renewal alone.
    """

    weights: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]
    units: Sequence[tuple[Sequence[str], Sequence[str]]]
    activations: Callable[[Tensor], list[Tensor]]
    observations: Tensor
    fresh: Callable[[str], Tensor]
    generator: Generator


@runtime_checkable
class Renewal(Protocol):
    """Renews weights every so many updates of them."""

    @property
    def every(self) -> int:
        """Updates of the weights between two renewals, at least 1."""

    def renew(self, network: Network) -> Mapping[str, Tensor]:
        """New values of some parameters, by name; taken only where the guard lets weights move,
        and where they differ the optimiser's moments are forgotten.
        """
