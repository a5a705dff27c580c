"""Renewals: what keeps a network plastic by giving some of its weights new values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cotasp.errors import RecipeError, component_errors
from cotasp.modules.mask_capabilities import Scored
from cotasp.modules.masks import MaskPolicy

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Network:
    """The network in training, as a renewal sees it: the units of the task and the weights between
    them, those of its own head included.

    Args:
        weights: by parameter's name.
        fixed: true where a weight must not change; parameters that may are left out.
        units: of each hidden layer, the names of the parameters whose rows its units own, and
            those whose columns they own.
        activations: observations [n, m] to the hidden layers' outputs, [n, K_l] each.
        active: of each hidden layer, the numbers that its units have in the whole network, in
            order.
        widths: of the whole network's hidden layers.
        observations: [B, m], of the update's batch.
        fresh: a parameter's name to newly drawn weights of its shape, by `generator`.
        generator: random numbers of this renewal alone.
        state: what this renewal has put here, and may put; saved with the learner.
        progress: of the task in training, in [0, 1].
        start: a parameter's name to its values as the task began, of its shape; for a renewal with
            `"start"` in its class attribute `asks`.
    """

    weights: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]
    units: Sequence[tuple[Sequence[str], Sequence[str]]]
    active: Sequence[Tensor]
    widths: Sequence[int]
    activations: Callable[[Tensor], list[Tensor]]
    observations: Tensor
    fresh: Callable[[str], Tensor]
    generator: Generator
    state: MutableMapping[str, dict[str, Tensor]]
    progress: float
    start: Callable[[str], Tensor]


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


def check_renewals(renewals: Sequence[Renewal], mask: MaskPolicy) -> None:
    """Raises RecipeError for one that is never due, or whose units a mask chooses the weights of,
    PluginError for one that cannot say when.
    """
    for i, renewal in enumerate(renewals):
        name = type(renewal).__name__
        if type(renewal) in map(type, renewals[:i]):
            raise RecipeError(f"renewals: {name} is there twice; remove one")
        if isinstance(mask, Scored):
            raise RecipeError(
                f"renewals: expected none under {type(mask).__name__}, whose tasks choose single "
                f"weights, so that no unit is as renewals see it, got {name}; remove it"
            )
        with component_errors("renewal", renewal):
            every = renewal.every
        if not isinstance(every, int) or every < 1:
            raise RecipeError(f"renewals: {name}.every: expected updates, at least 1, got {every}")


def free_units(network: Network, layer: int) -> Tensor:
    """The units of a hidden layer of which no weight is fixed, bool [K]; one that has some could be
    renewed by half only.
    """
    rows, columns = network.units[layer]
    width = len(network.weights[rows[0]])
    free = network.weights[rows[0]].new_ones(width).bool()
    for name in rows:
        if name in network.fixed:
            fixed = network.fixed[name]
            free &= ~(fixed if fixed.ndim == 1 else fixed.any(1))
    for name in columns:
        if name in network.fixed:
            free &= ~network.fixed[name].any(0)
    return free


def renew_units(network: Network, new: dict[str, Tensor], layer: int, chosen: Tensor) -> None:
    """Draws the incoming weights of chosen units, bool [K], anew and sets the outgoing ones to 0.

    Args:
        network: as it is.
        new: all its weights, changed in place.
        layer: of the units.
        chosen: which of them.
    """
    rows, columns = network.units[layer]
    for name in rows:
        new[name][chosen] = network.fresh(name)[chosen]
    for name in columns:
        new[name][:, chosen] = 0.0
