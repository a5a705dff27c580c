"""Continual meta-policy search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cotasp.agents.budget import Budget
from cotasp.agents.meta_settings import MetaLearning
from cotasp.agents.on_policy_settings import OnPolicy
from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from cotasp.agents.agent import Learner
    from cotasp.methods.method import Method
    from cotasp.methods.problem import Problem


@dataclass(frozen=True)
class CoMPS:
    """Continual meta-policy search (CoMPS, ICLR 2022, arXiv 2112.04467): PPO from a learned start.

    Every task is learned by PPO; all its transitions are kept.  At its end the start of the next
    task is meta-learned from what is kept: such that one step of policy gradient on a few episodes
    of a task, by learned step sizes, comes near to that task's best trajectories.  No environment
    is touched, but where inner data are asked for `"anew"`.  There is one network without masks,
    and a copy of it for every finished task.

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

    def __post_init__(self) -> None:
        for name, expected, why in (
            ("start", "kept", "every task begins with the start that was meta-learned"),
            ("reset_std", False, "the deviation begins every task as it began the first"),
            ("code_epochs", 0, "there are no codes"),
        ):
            got = getattr(self.ppo, name)
            if got != expected:
                raise RecipeError(
                    f"ppo.{name}: expected {expected} with comps, for {why}, got {got}"
                )

    def check_budget(self, budget: Budget) -> None:
        """Sees that there is a task to prepare for, and room for an episode of each.

        Raises:
            RecipeError: a stream of one task, less training or memory per task than an episode
                takes, or revisits with one environment.
        """
        if budget.tasks == 1:
            raise RecipeError(
                "stream: expected two tasks or more, got one: with nothing to come, there is "
                "nothing to prepare for; use the agent ppo"
            )
        if self.meta.inner_data == "anew" and self.ppo.num_envs == 1:
            raise RecipeError(
                "agent.ppo.num_envs: expected at least 2 with meta.inner_data 'anew', whose "
                "advantages are differences between episodes, got 1"
            )
        rows, horizon, steps = self.meta.rows_per_task, budget.horizon, budget.steps_per_task
        if horizon is not None and steps // self.ppo.num_envs < horizon:
            raise RecipeError(
                f"agent.ppo.num_envs: expected at most {steps // horizon}, so that within the "
                f"{steps} steps of a task an episode of {horizon} ends in each, got "
                f"{self.ppo.num_envs}; use fewer, or raise steps_per_task"
            )
        if rows is not None and horizon is not None and rows < horizon // budget.action_repeat:
            raise RecipeError(
                f"agent.meta.rows_per_task: expected at least the "
                f"{horizon // budget.action_repeat} transitions of an episode, got {rows}"
            )

    def learner(self, problem: Problem, method: Method) -> Learner:
        from cotasp.agents.meta_learner import MetaLearner

        numbers = problem.steps_per_task, problem.action_repeat, problem.horizon
        try:  # again, for a stream that does not count its tasks before it makes them
            self.check_budget(Budget(*numbers, len(problem.texts)))
        except RecipeError as error:
            raise RecipeError(f"recipe.{error}") from error
        if self.meta.inner_data == "anew" and problem.horizon is None:
            raise RecipeError(
                "recipe.agent.meta.inner_data: expected 'kept' for tasks without one horizon, "
                "whose episodes need not end, got 'anew'; set stream.horizon, if there is one"
            )
        if any(problem.owner(task) != task for task in range(len(problem.texts))):
            raise RecipeError(
                "recipe.stream.returning: expected 'new' with the agent comps, whose next start "
                "every task prepares, got one that goes on with an earlier task; use the agent ppo"
            )
        return MetaLearner(self.ppo, self.meta, problem, method)
