"""The replay buffer of one task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from cotasp.errors import RunError
from cotasp.methods.batch import Batch
from cotasp.methods.multistep import MultiStep
from cotasp.methods.problem import Problem, Sampling
from cotasp.storage.rows import Rows
from cotasp.storage.tensors import check_shapes

_PIECE = 65_536  # transitions read at once


def row_shapes(problem: Problem) -> dict[str, tuple[int, ...]]:
    """Shapes of a row's columns, by the fields of `Batch`."""
    observation, action = (problem.observation_dim,), (problem.action_dim,)
    return dict(zip(Batch._fields, (observation, action, (), observation, ())))


class Replay:
    """TorchRL's replay buffer, holding what the losses need and no more.

    Args:
        sampling: capacity, batch size, steps of returns, discount factor, reward scale.
        problem: sizes, device and seed; no more are kept than a task has transitions.
        task: number of the task, which varies the sampling.
    """

    def __init__(self, sampling: Sampling, problem: Problem, task: int) -> None:
        self.task = task
        transitions = problem.steps_per_task // problem.action_repeat
        self.capacity = min(sampling.buffer_size, transitions)
        self.row = row_shapes(problem)
        self.added = 0  # rows, those since overwritten included
        self.batch_size = sampling.batch_size
        self.reward_scale = sampling.reward_scale / problem.action_repeat
        self.multi_step = MultiStep(sampling.n_step, sampling.gamma)
        self.generator = torch.Generator().manual_seed(problem.seed * 10_007 + task)
        self.buffer = TensorDictReplayBuffer(
            storage=LazyTensorStorage(self.capacity, device=problem.device)
        )

    def __len__(self) -> int:
        return len(self.buffer)

    @property
    def bytes(self) -> int:
        """What it takes when full: float32 columns, and the 8 bytes of TorchRL's index."""
        return self.capacity * (4 * sum(math.prod(shape) for shape in self.row.values()) + 8)

    def extend(self, data: TensorDictBase) -> None:
        """Adds the rows that transitions [n] complete, as a collector gives them.

        Where it does not tell by `is_init` which of them begin an episode, those after `done` do.
        """
        following = data["next"]
        done = following["done"].squeeze(-1)
        begins = data.get("is_init", None)
        rows = self.multi_step(
            {
                "observation": data["observation"],
                "action": data["action"],
                "reward": following["reward"].squeeze(-1) * self.reward_scale,
                "next_observation": following["observation"],
                "terminated": following["terminated"].squeeze(-1),
                "done": done,
                "is_init": torch.zeros_like(done) if begins is None else begins.squeeze(-1),
            }
        )
        if len(rows["reward"]):
            self._append(TensorDict(rows, batch_size=[len(rows["reward"])]))

    def _append(self, rows: TensorDictBase) -> None:
        self.buffer.extend(rows)
        self.added += len(rows)

    def sample(self, size: int | None = None, generator: torch.Generator | None = None) -> Batch:
        """A batch drawn uniformly with replacement, of the usual size and by the buffer's own
        random numbers unless told.
        """
        # not the buffer's own way: that draws where the rows are, so that devices would differ
        shape = (size or self.batch_size,)
        return self.rows(torch.randint(len(self), shape, generator=generator or self.generator))

    def rows(self, places: Tensor) -> Batch:
        """The rows at some places of the buffer, [n], each below its length."""
        rows = self.buffer.storage[places.to(self.buffer.storage.device)]
        return Batch(*(rows[key] for key in Batch._fields))

    def batches(self, count: int) -> Batch:
        """What as many samples would give, columns [count, B, *], read at once: rows lie scattered
        in memory.
        """
        rows = self.sample(count * self.batch_size)
        return Batch(*(column.unflatten(0, (count, self.batch_size)) for column in rows))

    def state_dict(self) -> dict[str, Any]:
        """Rows, transitions that wait for more steps, and the generator that samples."""
        held = Rows(
            f"task_{self.task + 1:02d}", self.added - len(self), self.added, self._transitions
        )
        return {
            "task": self.task,
            "generator": self.generator.get_state(),
            "transitions": held,
            "pending": self.multi_step.pending,
        }

    def _transitions(self, first: int, last: int) -> dict[str, Tensor]:
        places = torch.arange(first, last) % self.capacity
        rows = self.buffer.storage[places]
        return {key: rows[key] for key in Batch._fields}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Fills an empty buffer with what `state_dict` returned, every row in its old place.

        Raises:
            RunError: the rows are of other sizes, or come from a buffer of another capacity.
        """
        rows: Rows = state["transitions"]
        if rows.stop - rows.start != min(rows.stop, self.capacity):
            raise RunError(
                f"buffer: expected the last {min(rows.stop, self.capacity)} transitions, as "
                f"buffer_size and steps_per_task say, got {rows.stop - rows.start}"
            )
        begins_round = rows.stop - rows.stop % self.capacity  # the row at the buffer's first place
        if rows.start == 0:
            self._read(rows, 0, rows.stop)
        else:  # the newest rows twice: the second time moves the cursor to where it was
            self._read(rows, begins_round, rows.stop)
            self._read(rows, rows.start, begins_round)
            self._read(rows, begins_round, rows.stop)
        self.added = rows.stop
        self.multi_step.load_pending(state["pending"], self.row)
        self.generator.set_state(state["generator"])

    def _read(self, rows: Rows, first: int, last: int) -> None:
        for begin in range(first, last, _PIECE):
            n = min(_PIECE, last - begin)
            columns = rows.read(begin, begin + n)
            check_shapes(f"buffer {rows.name}", columns, {k: (n, *s) for k, s in self.row.items()})
            self._append(TensorDict(columns, batch_size=[n]))
