"""Elastic weight consolidation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotasp.errors import RecipeError
from cotasp.methods.protection import squared_distance

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.protection import Ending, Now


@dataclass(frozen=True)
class EWC:
    """Elastic weight consolidation: pulls weights back in proportion to their Fisher information.

    penalty = weight / 2 * sum_i F_i (theta_i - theta*_i)^2 (arXiv 1612.00796, Eq. 3), with
    theta* the weights at the end of the last task and F the sum over finished tasks of
    F_i = E_s E_{a ~ pi(.|s)} [(d log pi(a|s) / d theta_i)^2].

    Args:
        weight: strength of the pull, at least 0.
        samples: states (and one action each) the Fisher information is estimated from.
    """

    weight: float = 1e4
    samples: int = 256

    def __post_init__(self):
        if self.weight < 0:
            raise RecipeError(f"EWC.weight: expected at least 0, got {self.weight}")
        if not 1 <= self.samples <= 100_000:
            raise RecipeError(f"EWC.samples: expected in [1, 100000], got {self.samples}")

    def penalty(self, now: Now) -> Tensor | None:
        if not now.state or not self.weight:
            return None
        pull = squared_distance(now.weights, now.state["anchor"], now.state["fisher"])
        return 0.5 * self.weight * pull

    def remember(self, ending: Ending) -> dict[str, dict[str, Tensor]]:
        from cotasp.methods.fisher import fisher_information

        states = ending.rows(self.samples).observation
        fisher = fisher_information(ending.policy, ending.mask, states, ending.generator)
        for name, old in ending.state.get("fisher", {}).items():
            fisher[name] += old
        weights = {k: p.detach().clone() for k, p in ending.policy.named_parameters()}
        return {"fisher": fisher, "anchor": weights}
