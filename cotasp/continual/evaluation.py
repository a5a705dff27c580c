"""How well a policy does a task."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from cotasp.continual.randomness import forked
from cotasp.continual.score import Score
from cotasp.continual.seeds import derive_seed
from cotasp.errors import CotaspError, RunError
from cotasp.recipe import Evaluation
from cotasp.tasks.closing import close
from cotasp.tasks.simulator import SkipsFaults
from cotasp.tasks.task import Task

ATTEMPTS = 10  # of an evaluation whose environment fails and cannot go on
_NO_LIMIT = 1_000_000  # steps; every environment here truncates its episodes long before


def _rate(succeeded: torch.Tensor) -> float:
    """The fraction of episodes [n] that succeed: 9 of 10 are 0.9, not a little less."""
    return float(succeeded.double().mean())


class Episodes(NamedTuple):
    """How each episode of an evaluation went.

    Args:
        success: bool [episodes], by the rule that counts; of a task that is judged by its return,
            the normalised return, float64 in [0, 1], as are the next two.
        success_last: bool [episodes], at its last step.
        success_any: bool [episodes], at any step.
        episode_return: [episodes], undiscounted.
        steps: int64 [episodes], of the environment.
        faults: of the environment that were skipped.
    """

    success: torch.Tensor
    success_last: torch.Tensor
    success_any: torch.Tensor
    episode_return: torch.Tensor
    steps: torch.Tensor
    faults: int = 0

    def score(self) -> Score:
        """Their means."""
        return Score(
            success=_rate(self.success),
            success_last=_rate(self.success_last),
            success_any=_rate(self.success_any),
            episode_return=float(self.episode_return.mean()),
            episode_length=float(self.steps.float().mean()),
            faults=self.faults,
        )

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the success rate, by Wilson's score (1927); of normalised returns,
        1.96 standard errors about their mean; of one episode's return alone, all that there is.
        """
        if self.success.dtype != torch.bool:
            if len(self.success) == 1:
                return 0.0, 1.0
            mean, error = float(self.success.mean()), float(self.success.std())
            half = 1.96 * error / len(self.success) ** 0.5
            return max(0.0, mean - half), min(1.0, mean + half)
        from scipy.stats import binomtest

        test = binomtest(int(self.success.sum()), len(self.success))
        low, high = test.proportion_ci(0.95, method="wilson")
        return float(low), float(high)

    def rows(self) -> list[dict[str, bool | float | int]]:
        """One for each episode, JSON-able."""
        return [
            dict(zip(("success", "success_last", "success_any", "return", "steps"), row))
            for row in zip(*(column.tolist() for column in self[:5]))
        ]


class Evaluator:
    """Runs episodes of any task, all at once, and keeps the environments for the next time.

    Each task is always evaluated on the same episodes (initial states and goals), and the random
    states of training are left as they were, Python's and NumPy's global ones included: evaluating
    changes nothing and can be repeated.

    Args:
        tasks: of the stream.
        settings: episodes, mode and success rule.
        seed: of the run.
        faults: what to do when an environment raises an error or returns a number that is not
            finite: `"stop"` raises; `"skip"` counts it, and the episode as failed.
    """

    def __init__(
        self,
        tasks: tuple[Task, ...],
        settings: Evaluation,
        seed: int,
        faults: Literal["stop", "skip"],
    ) -> None:
        self.tasks = tasks
        self.settings = settings
        self.seed = seed
        self.on_fault = faults
        self._envs: dict[str, EnvBase] = {}  # by their names, without tasks' marks

    def __call__(self, task: int, policy: TensorDictModuleBase) -> Score:
        """The score of a policy on task number `task`.

        Raises:
            RunError: the environment failed, or a reward or an observation is not finite.
        """
        return self.episodes(task, policy).score()

    def episodes(self, task: int, policy: TensorDictModuleBase) -> Episodes:
        """How each episode of a policy on task number `task` went; raises what a call does."""
        name, skips = self.tasks[task].name, self.on_fault == "skip"
        faults = 0
        while True:
            # where an environment cannot go on after a fault, other episodes are begun
            again: list[str | int] = [faults] if faults else []
            seed = derive_seed(self.seed, "evaluation", self.tasks[task].env, *again)
            try:
                with forked(seed):
                    episodes = self._evaluated(task, policy, seed)
                return episodes._replace(faults=episodes.faults + faults)
            except Exception as error:  # a simulator raises whatever it likes
                known, cause = isinstance(error, CotaspError), error
                failure = str(error) if known else f"the environment failed: {error!r}"
            self._forget(self.tasks[task].env)
            faults += 1
            if not skips or faults == ATTEMPTS:
                remedy = "" if skips else "; mend it, or skip such episodes by faults=skip"
                raise RunError(f"evaluation of task {name!r}: {failure}{remedy}") from cause

    def _evaluated(self, task: int, policy: TensorDictModuleBase, seed: int) -> Episodes:
        name = self.tasks[task].env
        if name not in self._envs:
            self._envs[name] = self.tasks[task].make_part(self.settings.episodes, seed)
        env = self.tasks[task].marked(self._envs[name])
        env.set_seed(seed)
        before = 0
        if isinstance(env, SkipsFaults):
            env.skip_faults, before = self.on_fault == "skip", env.faults
        deterministic = self.settings.mode == "deterministic"
        kind = ExplorationType.DETERMINISTIC if deterministic else ExplorationType.RANDOM
        with set_exploration_type(kind), torch.no_grad():
            data = env.rollout(
                _NO_LIMIT, policy, break_when_any_done=False, break_when_all_done=True
            )["next"]
        skipped = env.faults - before if isinstance(env, SkipsFaults) else 0
        rule, skips = self.settings.success, self.on_fault == "skip"
        return judged(data, self.tasks[task], rule, skips)._replace(faults=skipped)

    def close(self) -> None:
        """Closes the environments."""
        for name in list(self._envs):
            self._forget(name)

    def _forget(self, name: str) -> None:
        """Closes an environment; the next time there is a new one."""
        env = self._envs.pop(name, None)
        if env is not None:
            close(env)


def judged(data: TensorDictBase, task: Task, rule: str, skips: bool) -> Episodes:
    """How episodes went, by all that came of their steps.

    Args:
        data: the `"next"` of transitions [episodes, steps]; what follows an episode's end is left
            out.
        task: what the environment is of.
        rule: `"last"` or `"any"`, which success counts.
        skips: whether a reward that is NaN is a fault that was skipped, see `SkipsFaults`.

    Raises:
        RunError: a reward or an observation is not finite.
    """
    done = data["done"].squeeze(-1)  # [episodes, steps]
    alive = (done.cumsum(-1) - done.long()) == 0  # up to and with an episode's last step
    observed = data.get("observation", None)
    if observed is not None and not torch.isfinite(observed[alive]).all():
        raise RunError("an observation is not finite")
    reward = torch.where(alive, data["reward"].squeeze(-1), 0.0)
    failed = torch.zeros_like(alive[:, 0])
    if skips:
        failed = reward.isnan().any(-1)
        reward = reward.nan_to_num(nan=0.0)
    if not torch.isfinite(reward).all():
        raise RunError("a reward is not finite")
    last = alive.sum(-1, keepdim=True) - 1
    # at any of the steps that an action was held for
    anywhere = data.get("succeeded", data["success"]).squeeze(-1) & alive
    successes = {
        "last": data["success"].squeeze(-1).gather(-1, last).squeeze(-1),
        "any": anywhere.any(-1),
    }
    returns = reward.sum(-1)
    total = returns.tolist()
    successes = {
        name: torch.tensor(
            [task.judged(*episode) for episode in zip(total, values.tolist())],
            dtype=torch.bool if task.return_range is None else torch.float64,
        ).masked_fill(failed, 0)
        for name, values in successes.items()
    }
    return Episodes(
        successes[rule],
        successes["last"],
        successes["any"],
        returns,
        alive.sum(-1) * task.action_repeat,
    )
