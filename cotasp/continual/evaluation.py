"""How well a policy does a task."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from cotasp.continual.score import Score
from cotasp.continual.seeds import derive_seed
from cotasp.errors import RunError
from cotasp.recipe import Evaluation
from cotasp.tasks.task import Task

_NO_LIMIT = 1_000_000  # steps; every environment here truncates its episodes long before


def _rate(succeeded: torch.Tensor) -> float:
    """The fraction of episodes [n] that succeed: 9 of 10 are 0.9, not a little less."""
    return float(succeeded.double().mean())


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
            data = env.rollout(
                _NO_LIMIT, policy, break_when_any_done=False, break_when_all_done=True
            )["next"]
        return self._score(data, self.tasks[task])

    def _score(self, data: TensorDictBase, task: Task) -> Score:
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
            "last": _rate(data["success"].squeeze(-1).gather(-1, last).squeeze(-1)),
            "any": _rate(anywhere.any(-1)),
        }
        return Score(
            success=found[self.settings.success],
            success_last=found["last"],
            success_any=found["any"],
            episode_return=float(reward.sum(-1).mean()),
            episode_length=float(alive.sum(-1).float().mean()) * task.action_repeat,
        )

    def close(self) -> None:
        """Closes the environments."""
        for env in self._envs.values():
            env.close()
        self._envs.clear()
