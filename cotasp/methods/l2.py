"""A pull back to the weights that the last task ended with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotasp.checks import check_fields
from cotasp.methods.protection import squared_distance
from cotasp.ranges import NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.protection import Ending, Now


@dataclass(frozen=True)
class L2:
    """Pulls weights back to where the last task left them, the more tasks use them the harder.

    penalty = weight * sum_i n_i (theta_i - theta*_i)^2, with theta* the weights at the end of the
    last task and n_i how often a task has ended that uses weight i (the L2 of EWC's comparison,
    arXiv 1612.00796, with the importances added up as in Continual World, arXiv 2105.10919).

    Args:
        weight: strength of the pull, at least 0.
    """

    weight: NonNegative = 1.0

    def __post_init__(self):
        check_fields(self)

    def penalty(self, now: Now) -> Tensor | None:
        if not now.state or not self.weight:
            return None
        return self.weight * squared_distance(now.weights, now.state["anchor"], now.state["tasks"])

    def remember(self, ending: Ending) -> dict[str, dict[str, Tensor]]:
        from cotasp.modules.subnetwork import used_weights

        anchor = ending.weights()
        used = used_weights(ending.policy, ending.share)
        tasks = {k: used[k].to(w.dtype) for k, w in anchor.items()}
        for name, before in ending.state.get("tasks", {}).items():
            tasks[name] += before
        return {"tasks": tasks, "anchor": anchor}
