"""What is to be learned: the numbers of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tensordict import TensorDictBase
    from tensordict.nn import TensorDictModuleBase


class Revisit(Protocol):
    """Takes a task's episodes at any time."""

    def __call__(
        self, task: int, policy: TensorDictModuleBase, num_envs: int, *labels: int
    ) -> TensorDictBase:
        """The steps of a horizon in some environments, [num_envs, horizon / action_repeat].

        Each begins with an episode; where that ends early, another begins.  Keys are those of what
        `learn` takes: `observation`, `is_init`, what the policy writes, and `next` with
        `observation`, `reward`, `done` and `terminated`.

        Args:
            task: its number.
            policy: as `behaviour` gives it: `observation` to `action` and whatever else it writes.
            num_envs: environments, made for this and closed.
            labels: equal ones, of an equal policy, give the same steps.

        Raises:
            RunError: the environment fails, whatever the recipe's `faults` says.
        """
        ...


@dataclass(frozen=True)
class Problem:
    """What a learner must know of the stream before it begins.

    Args:
        texts: of the tasks, in order.
        observation_dim, action_dim: shared by all tasks; actions lie in [-1, 1].
        steps_per_task: environment steps per task; of tasks that train together, of all of them.
        horizon: environment steps per episode; None: unknown, or not the same for all.
        action_repeat: environment steps per transition.
        seed: of everything the learner draws outside torch's global random state.
        device: of networks and buffer.
        phrasings: of each task, other texts that are to lead to its policy; empty: none has any.
        owners: of each task, the number of the earlier one that it goes on with, or its own; empty:
            all their own.
        marks: of each task, what its observations end with, where several are learned together;
            empty: each is learned alone.
        learners: of this process for which there must be memory, this one included.
        revisit: steps in tasks that are not in training, which no stream allows, to compare; None:
            there are none.
    """

    texts: Sequence[str]
    observation_dim: int
    action_dim: int
    steps_per_task: int
    horizon: int | None = None
    action_repeat: int = 1
    seed: int = 0
    device: str = "cpu"
    learners: int = 1
    phrasings: Sequence[Sequence[str]] = ()
    owners: Sequence[int] = ()
    marks: Sequence[Sequence[float]] = ()
    revisit: Revisit | None = None

    def owner(self, task: int) -> int:
        """The number of the task that a task goes on with, or its own."""
        return self.owners[task] if self.owners else task


@dataclass(frozen=True)
class Sampling:
    """What an off-policy agent keeps of a task and draws per update.

    Args:
        batch_size: rows per update.
        buffer_size: rows kept, at most.
        n_step: transitions whose rewards a row holds.
        gamma: discount factor per transition.
        reward_scale: multiplies the mean reward of a transition's environment steps.
    """

    batch_size: int
    buffer_size: int
    n_step: int
    gamma: float
    reward_scale: float
