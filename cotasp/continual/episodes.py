"""Returns of the episodes that training itself makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tensordict import TensorDictBase
from torch import Tensor

MOST_SPANS = 100  # of a task's budget


def spans(steps_per_task: int, frames_per_batch: int) -> int:
    """Into how many equal parts a task's budget is divided: its batches, or a hundred."""
    return min(MOST_SPANS, steps_per_task // frames_per_batch)


class EpisodeReturns:
    """Sums of returns, undiscounted, of the episodes of a stream's training.

    Each task's budget is divided into equal spans; an episode counts in the span in which the
    batch ends that brought its last step.

    Args:
        tasks: of the stream.
        steps_per_task, frames_per_batch: of the recipe.
    """

    def __init__(self, tasks: int, steps_per_task: int, frames_per_batch: int) -> None:
        self.budget = steps_per_task
        self.spans = spans(steps_per_task, frames_per_batch)
        self.sums = [[0.0] * self.spans for _ in range(tasks)]
        self.counts = [[0] * self.spans for _ in range(tasks)]
        self._begun: list[float] = []  # of each environment, the episode under way

    def begin_task(self) -> None:
        """Forgets the episodes under way."""
        self._begun = []

    def add(self, task: int, steps: int, data: TensorDictBase) -> None:
        """Takes a batch [T] or [n, T].

        Args:
            task: its number.
            steps: of the task's environment, this batch included.
        """
        data = data if data.ndim == 2 else data.unsqueeze(0)
        reward: Tensor = data["next", "reward"].squeeze(-1).double()
        begins = data["is_init"].squeeze(-1).tolist()
        ends = data["next", "done"].squeeze(-1).tolist()
        self._begun = self._begun or [0.0] * len(data)
        span = -(-steps * self.spans // self.budget) - 1
        for i, line in enumerate(reward.tolist()):
            total = self._begun[i]
            for value, begin, end in zip(line, begins[i], ends[i]):
                total = value if begin else total + value
                if end:
                    self.sums[task][span] += total
                    self.counts[task][span] += 1
                    total = 0.0
            self._begun[i] = total

    def to_json(self) -> dict[str, Any]:
        """Mean return and number of the episodes of each span, [T][spans]; None: there are none."""
        means = [
            [round(total / n, 6) if n else None for total, n in zip(*row)]
            for row in zip(self.sums, self.counts)
        ]
        return {"episode_return": means, "episodes": self.counts}

    def state_dict(self) -> dict[str, Any]:
        """All of it; JSON-able."""
        finite = all(map(math.isfinite, self._begun))
        begun = list(self._begun) if finite else []
        return {"sums": self.sums, "counts": self.counts, "begun": begun}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave, of the tasks that stand where they stood."""
        for mine, name in ((self.sums, "sums"), (self.counts, "counts")):
            for task, row in enumerate(state[name][: len(mine)]):
                if len(row) == self.spans:
                    mine[task] = list(row)
        self._begun = list(state["begun"])
