"""Episodes of tasks that are not in training, which a continual stream does not give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase

from cotasp.continual.collection import Collection
from cotasp.continual.randomness import forked
from cotasp.continual.seeds import derive_seed
from cotasp.errors import RunError
from cotasp.tasks.task import Task


class Revisits:
    """Takes episodes with environments of its own; no other random number changes.

    Args:
        tasks: of the stream.
        seed: of the run.
        faults: see `Collection`.
    """

    def __init__(self, tasks: Sequence[Task], seed: int, faults: Literal["stop", "skip"]) -> None:
        self._tasks, self._seed, self._faults = tasks, seed, faults

    def __call__(
        self, task: int, policy: TensorDictModuleBase, num_envs: int, *labels: int
    ) -> TensorDictBase:
        """See `cotasp.methods.problem.Revisit`.

        Raises:
            RunError: the task has no horizon, or its environment fails.
        """
        visited = self._tasks[task]
        if visited.horizon is None:
            raise RunError(f"task {visited.name!r}: expected a horizon, got none; nothing ends")
        seed = derive_seed(self._seed, "revisit", task, *labels)
        with forked(seed):
            env = visited.make_env(num_envs, seed)
            collection = Collection(env, policy, visited.name, visited.action_repeat, self._faults)
            try:
                return collection.collect(num_envs * visited.horizon)
            finally:
                collection.close()
