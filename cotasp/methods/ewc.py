"""Elastic weight consolidation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cotasp.checks import check_fields
from cotasp.methods.protection import squared_distance
from cotasp.ranges import NonNegative, Range, Share

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.protection import Ending, Now


@dataclass(frozen=True)
class EWC:
    """Elastic weight consolidation: pulls weights back in proportion to their Fisher information.

    penalty = weight / 2 * sum_i F_i (theta_i - theta*_i)^2 (arXiv 1612.00796, Eq. 3), with
    theta* the weights at the end of the last task and F the sum over ends of tasks of
    F_i = E_s E_{a ~ pi(.|s)} [(d log pi(a|s) / d theta_i)^2].  Continual World (arXiv 2105.10919)
    has no 1/2: its `weight` is half of one here.

    Args:
        weight: strength of the pull, at least 0.
        samples: states that the Fisher information is estimated from.
        fisher: `"sampled"`: by one action per state; `"gaussian"`: the expectation over actions in
            closed form, at the price of 2 action_dim gradients per state; `"continual_world"`:
            theirs, that form with the squashed mean, which is the Fisher information of no density.
        floor: least information of a weight that the task uses (theirs: 1e-5), at least 0.
        decay: of the sum, with every task that ends: F <- decay F + F_task, in [0, 1]; online EWC
            (arXiv 1805.06370).
        normalise: whether each task's information is divided by its norm over all weights, so that
            tasks count alike whatever the sizes of their actions.
    """

    weight: NonNegative = 1e4
    samples: Annotated[int, Range(1, 100_000)] = 256
    fisher: Literal["sampled", "gaussian", "continual_world"] = "sampled"
    floor: NonNegative = 0.0
    decay: Share = 1.0
    normalise: bool = False

    def __post_init__(self):
        check_fields(self)

    def penalty(self, now: Now) -> Tensor | None:
        if not now.state or not self.weight:
            return None
        pull = squared_distance(now.weights, now.state["anchor"], now.state["fisher"])
        return 0.5 * self.weight * pull

    def remember(self, ending: Ending) -> dict[str, dict[str, Tensor]]:
        fisher = self._information(ending)
        for name, before in ending.state.get("fisher", {}).items():
            fisher[name] += self.decay * before
        return {"fisher": fisher, "anchor": ending.weights()}

    def _information(self, ending: Ending) -> dict[str, Tensor]:
        import torch

        from cotasp.methods.fisher import fisher_information
        from cotasp.methods.importance import gaussian_fisher
        from cotasp.modules.subnetwork import used_weights

        states = ending.rows(self.samples).observation
        of_task = ending.policy, ending.share, states
        if self.fisher == "sampled":
            fisher = fisher_information(*of_task, ending.generator)
        else:
            fisher = gaussian_fisher(*of_task, squashed=self.fisher == "continual_world")
        if self.normalise:
            norm = torch.stack([f.norm() for f in fisher.values()]).norm()
            fisher = {name: f / norm for name, f in fisher.items()}
        if self.floor:
            used = used_weights(ending.policy, ending.share)
            fisher = {name: f.clamp(min=self.floor) * used[name] for name, f in fisher.items()}
        return fisher
