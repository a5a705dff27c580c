"""Proximal policy optimisation on sub-networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotasp.agents.on_policy_settings import OnPolicy

if TYPE_CHECKING:
    from cotasp.agents.agent import Learner
    from cotasp.methods.method import Method
    from cotasp.methods.problem import Problem


@dataclass(frozen=True)
class PPO(OnPolicy):
    """Proximal policy optimisation (arXiv 1707.06347): on-policy, the ratio clipped.

    Its fields are those of `cotasp.agents.on_policy_settings.OnPolicy`.
    """

    def learner(self, problem: Problem, method: Method) -> Learner:
        from cotasp.agents.on_policy import OnPolicyLearner

        return OnPolicyLearner(self, problem, method)
