"""A pull back to the weights that the network began with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotasp.checks import check_fields
from cotasp.ranges import NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.protection import Now
    from cotasp.modules.policy import MetaPolicy


@dataclass(frozen=True)
class L2Init:
    """Pulls weights back to where they began, so that they stay plastic (L2 init).

    penalty = weight * sum_i (theta_i - theta_0,i)^2 with theta_0 the freshly drawn weights (arXiv
    2308.11958), from the first task on.  It protects no task: it is against the loss of plasticity.

    Args:
        weight: strength of the pull, at least 0.
    """

    weight: NonNegative = 1e-3

    def __post_init__(self):
        check_fields(self)

    def begin(self, policy: MetaPolicy) -> dict[str, dict[str, Tensor]]:
        return {"initial": {k: p.detach().clone() for k, p in policy.named_parameters()}}

    def penalty(self, now: Now) -> Tensor | None:
        if not now.state or not self.weight:
            return None
        initial = now.state["initial"]
        parts = [(w - initial[name]).square().sum() for name, w in now.weights.items()]
        return self.weight * sum(parts[1:], parts[0])
