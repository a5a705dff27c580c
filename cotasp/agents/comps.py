"""Continual meta-policy search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cotasp.agents.meta_settings import MetaLearning
from cotasp.agents.on_policy_settings import OnPolicy

if TYPE_CHECKING:
    from cotasp.agents.agent import Learner
    from cotasp.methods.method import Method
    from cotasp.methods.problem import Problem


@dataclass(frozen=True)
class CoMPS:
    """Continual meta-policy search (CoMPS, ICLR 2022, arXiv 2112.04467): PPO from a learned start.

    Every task is learned by PPO; all its transitions are kept.  At its end the start of the next
    task is meta-learned from what is kept, without the environment: such that one step of policy
    gradient on a few episodes of a task, by learned step sizes, comes near to that task's best
    trajectories.  There is one network without masks, and a copy of it for every finished task.

    Args:
        ppo: how a task is learned; see `cotasp.agents.on_policy_settings.OnPolicy`.
        meta: how the next start is; see `cotasp.agents.meta_settings.MetaLearning`.
    """

    whole_network: ClassVar[bool] = True

    ppo: OnPolicy = OnPolicy()
    meta: MetaLearning = MetaLearning()

    @property
    def num_envs(self) -> int:
        """Environments side by side."""
        return self.ppo.num_envs

    def learner(self, problem: Problem, method: Method) -> Learner:
        from cotasp.agents.meta_learner import MetaLearner

        return MetaLearner(self.ppo, self.meta, problem, method)
