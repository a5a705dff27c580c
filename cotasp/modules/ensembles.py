"""Critics at given weights: what losses ask of them, whatever the family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Pullback = Callable[[Tensor], Tensor]


class Ensemble(Protocol):
    """Twin critics bound to their weights, of one learner or, with [learners] in front, of many.

    `compiles` says whether `torch.compile` can make one graph of the methods.
    """

    compiles: bool

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values [*, n, B] of observations [*, B, in_features] and actions [*, B, action_dim]."""

    def action_vjp(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Pullback]:
        """The values [*, n, B], and what turns a slope [*, n, B] into the gradient of
        sum(slope * values) by the actions, [*, B, action_dim].  Called once, without gradient.
        """

    def fit(
        self, observation: Tensor, action: Tensor, target: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss [*] against targets [*, B], summed over members and averaged over rows, and its
        gradients by the parameters, in their order.
        """
