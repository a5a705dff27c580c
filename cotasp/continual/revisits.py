"""Episodes of tasks that are not in training, which a continual stream does not give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cotasp.continual.randomness import forked
from cotasp.continual.seeds import derive_seed
from cotasp.errors import RunError
from cotasp.tasks.task import Task

if TYPE_CHECKING:
    from tensordict import TensorDictBase
    from tensordict.nn import TensorDictModuleBase


class Revisits:
    """Takes episodes with environments of its own; no other random number changes.

    Args:
        tasks: of the stream.
        seed: of the run.
    """

    def __init__(self, tasks: Sequence[Task], seed: int) -> None:
        self._tasks, self._seed = tasks, seed

    def __call__(
        self, task: int, policy: TensorDictModuleBase, num_envs: int, *labels: int
    ) -> TensorDictBase:
        """See `cotasp.methods.problem.Revisit`."""
        from cotasp.continual.collection import Collection  # loads torchrl, which asking does not

        visited = self._tasks[task]
        name = f"{visited.name}, revisited"
        if visited.horizon is None:
            raise RunError(f"task {name!r}: expected a horizon, got none; do not revisit it")
        seed = derive_seed(self._seed, "revisit", task, *labels)
        with forked(seed):
            env = visited.make_env(num_envs, seed)
            collection = Collection(env, policy, name, visited.action_repeat)
            try:
                return collection.collect(num_envs * visited.horizon)
            finally:
                collection.close()
