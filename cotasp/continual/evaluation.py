"""How well a policy does a task."""

from __future__ import annotations

from typing import NamedTuple

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from cotasp.continual.score import Score
from cotasp.continual.seeds import derive_seed
from cotasp.errors import CotaspError, RunError
from cotasp.recipe import Evaluation
from cotasp.tasks.task import Task

_NO_LIMIT = 1_000_000  # steps; every environment here truncates its episodes long before


def _rate(succeeded: torch.Tensor) -> float:
    """The fraction of episodes [n] that succeed: 9 of 10 are 0.9, not a little less."""
    return float(succeeded.double().mean())


class Episodes(NamedTuple):
    """How each episode of an evaluation went.

    Args:
        success: bool [episodes], by the rule that counts.
        success_last: bool [episodes], at its last step.
        success_any: bool [episodes], at any step.
        episode_return: [episodes], undiscounted.
        steps: int64 [episodes], of the environment.
    """

    success: torch.Tensor
    success_last: torch.Tensor
    success_any: torch.Tensor
    episode_return: torch.Tensor
    steps: torch.Tensor

    def score(self) -> Score:
        """Their means."""
        return Score(
            success=_rate(self.success),
            success_last=_rate(self.success_last),
            success_any=_rate(self.success_any),
            episode_return=float(self.episode_return.mean()),
            episode_length=float(self.steps.float().mean()),
        )

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the success rate, by Wilson's score (1927)."""
        from scipy.stats import binomtest

        test = binomtest(int(self.success.sum()), len(self.success))
        low, high = test.proportion_ci(0.95, method="wilson")
        return float(low), float(high)

    def rows(self) -> list[dict[str, bool | float | int]]:
        """One for each episode, JSON-able."""
        return [
            dict(zip(("success", "success_last", "success_any", "return", "steps"), row))
            for row in zip(*(column.tolist() for column in self))
        ]


class Evaluator:
    """Runs episodes of any task, all at once, and keeps the environments for the next time.

    Each task is always evaluated on the same episodes (initial states and goals), and the random
    state of training is left as it was: evaluating changes nothing and can be repeated.

    Args:
        tasks: of the stream.
        settings: episodes, mode and success rule.
        seed: of the run.
    """

    def __init__(self, tasks: tuple[Task, ...], settings: Evaluation, seed: int) -> None:
        self.tasks = tasks
        self.settings = settings
        self.seed = seed
        self._envs: dict[str, EnvBase] = {}

    def __call__(self, task: int, policy: TensorDictModuleBase) -> Score:
        """The score of a policy on task number `task`.

        Raises:
            RunError: a reward or an observation is not finite.
        """
        return self.episodes(task, policy).score()

    def episodes(self, task: int, policy: TensorDictModuleBase) -> Episodes:
        """How each episode of a policy on task number `task` went; raises what a call does."""
        name = self.tasks[task].env
        seed = derive_seed(self.seed, "evaluation", name)
        if name not in self._envs:
            self._envs[name] = self.tasks[task].make_env(num_envs=self.settings.episodes, seed=seed)
        env = self._envs[name]
        env.set_seed(seed)
        deterministic = self.settings.mode == "deterministic"
        kind = ExplorationType.DETERMINISTIC if deterministic else ExplorationType.RANDOM
        with torch.random.fork_rng(devices=[]), set_exploration_type(kind), torch.no_grad():
            torch.default_generator.manual_seed(seed)  # the CPU's alone, as it is forked
            try:
                data = env.rollout(
                    _NO_LIMIT, policy, break_when_any_done=False, break_when_all_done=True
                )["next"]
            except CotaspError:
                raise
            except Exception as error:  # a simulator raises whatever it likes
                told = f"evaluation of task {self.tasks[task].name!r}"
                raise RunError(
                    f"{told}: the environment or the policy failed: {error!r}"
                ) from error
        return self._read(data, self.tasks[task])

    def _read(self, data: TensorDictBase, task: Task) -> Episodes:
        done = data["done"].squeeze(-1)  # [episodes, steps]
        alive = (done.cumsum(-1) - done.long()) == 0  # up to and with an episode's last step
        observed = data.get("observation", None)
        if observed is not None and not torch.isfinite(observed[alive]).all():
            raise RunError(f"evaluation of task {task.name!r}: an observation is not finite")
        reward = torch.where(alive, data["reward"].squeeze(-1), 0.0)
        if not torch.isfinite(reward).all():
            raise RunError(f"evaluation of task {task.name!r}: a reward is not finite")
        last = alive.sum(-1, keepdim=True) - 1
        # at any of the steps that an action was held for
        anywhere = data.get("succeeded", data["success"]).squeeze(-1) & alive
        found = {
            "last": data["success"].squeeze(-1).gather(-1, last).squeeze(-1),
            "any": anywhere.any(-1),
        }
        return Episodes(
            found[self.settings.success],
            found["last"],
            found["any"],
            reward.sum(-1),
            alive.sum(-1) * task.action_repeat,
        )

    def close(self) -> None:
        """Closes the environments."""
        for env in self._envs.values():
            env.close()
        self._envs.clear()
