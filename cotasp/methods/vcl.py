"""Variational continual learning: a task's posterior is the next one's prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.ranges import NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.protection import Ending, Now
    from cotasp.modules.specs import ActorSpec


@dataclass(frozen=True)
class VCL:
    """Holds Gaussian weights near what the last task left them at, in both moments.

    penalty = weight * sum_i KL(N(mu_i, s_i^2) || N(mu*_i, s*_i^2)), with mu*, s* as the last task
    left them (VCL, arXiv 1710.10628, Eq. 4; in Continual World, arXiv 2105.10919, whose weight is
    1), over the weights that a finished task uses: heads of later tasks have no prior yet, and the
    first task none at all.  Needs `actor.deviation`, which makes weights Gaussian.

    Args:
        weight: strength of the pull, at least 0.
    """

    weight: NonNegative = 1.0

    def __post_init__(self):
        check_fields(self)

    def check_actor(self, actor: ActorSpec) -> None:
        """Raises RecipeError for weights that are numbers."""
        if actor.deviation is None:
            raise RecipeError(
                "actor.deviation: expected one, for VCL holds the distribution of Gaussian "
                "weights, got none; set actor.deviation=0.05"
            )

    def penalty(self, now: Now) -> Tensor | None:
        import torch

        from cotasp.modules.policy import DEVIATION, gaussian_kl

        if not now.state or not self.weight:
            return None
        prior, used = now.state["prior"], now.state["used"]
        parts = [
            used[name] * gaussian_kl(mean, spread.exp(), prior[name], prior[of].exp())
            for name, mean in now.weights.items()
            if (spread := now.weights.get(of := name + DEVIATION)) is not None
        ]
        return self.weight * torch.stack([part.sum() for part in parts]).sum()

    def remember(self, ending: Ending) -> dict[str, dict[str, Tensor]]:
        from cotasp.modules.subnetwork import used_weights

        used = used_weights(ending.policy, ending.share)
        before = ending.state.get("used", {})
        return {
            "prior": ending.weights(),
            "used": {k: u.float().maximum(before.get(k, u.float())) for k, u in used.items()},
        }
