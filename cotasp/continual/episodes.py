"""Episodes that training itself makes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor

from cotasp.tasks.task import Task

MOST_SPANS = 100  # of a task's budget


def spans(steps_per_task: int, frames_per_batch: int) -> int:
    """Into how many equal parts a task's budget is divided: its batches, or a hundred."""
    return min(MOST_SPANS, steps_per_task // frames_per_batch)


class TrainingEpisode(NamedTuple):
    """An episode of training that has ended.

    Args:
        task: its name.
        step: its last, of those that the task, or its lesson, has taken.
        episode_return: undiscounted.
        length: environment steps.
        success: 1 or 0, by the rule that counts; of a task that is judged by its return, that
            return, normalised to [0, 1].
    """

    task: str
    step: int
    episode_return: float
    length: int
    success: float


class TrainingEpisodes:
    """Episodes of a stream's training as they end, and sums of their undiscounted returns.

    Each task's budget is divided into equal spans; an episode counts in the span in which the
    batch ends that brought its last step.

    Args:
        tasks: of the stream.
        steps_per_task, frames_per_batch: of the recipe.
        rule: `"last"` or `"any"`, at which of its steps an episode is a success.
    """

    def __init__(
        self, tasks: int, steps_per_task: int, frames_per_batch: int, rule: str = "last"
    ) -> None:
        self.budget = steps_per_task
        self.spans = spans(steps_per_task, frames_per_batch)
        self.rule = rule
        self.sums = [[0.0] * self.spans for _ in range(tasks)]
        self.counts = [[0] * self.spans for _ in range(tasks)]
        # of each environment, the episode under way: return, transitions, success until now
        self._begun: list[tuple[float, int, bool]] = []

    def begin_task(self) -> None:
        """Forgets the episodes under way."""
        self._begun = []

    def add(
        self, index: int, steps: int, data: TensorDictBase, lesson: Sequence[Task]
    ) -> list[TrainingEpisode]:
        """Takes a batch [T] or [n, T]; returns the episodes that it ends, in their order.

        Args:
            index: number of the task, or of the first of its lesson.
            steps: that were taken of it, this batch included.
            data: transitions.
            lesson: what is trained: a task, or several by turns.
        """
        data = data if data.ndim == 2 else data.unsqueeze(0)
        after = data["next"]
        columns = (
            _turns(data["observation"], lesson),
            after["reward"].double(),
            data["is_init"],
            after["done"],
            after["success"],
            after.get("succeeded", after["success"]) if self.rule == "any" else after["success"],
        )
        lines = zip(*(column.squeeze(-1).tolist() for column in columns))
        self._begun = self._begun or [(0.0, 0, False)] * len(data)
        span = -(-steps * self.spans // self.budget) - 1
        repeat = lesson[0].action_repeat
        each = len(data) * repeat  # environment steps of a column
        first = steps - each * data.shape[1]
        ended = []
        for i, line in enumerate(lines):
            total, length, success = self._begun[i]
            for t, (part, reward, begin, end, last, anywhere) in enumerate(zip(*line)):
                if begin:
                    total, length, success = 0.0, 0, False
                total, length = total + reward, length + 1
                success = success or anywhere
                if end:
                    self.sums[index][span] += total
                    self.counts[index][span] += 1
                    task = lesson[part]
                    judged = task.judged(total, success if self.rule == "any" else last)
                    at, steps = first + each * (t + 1), length * repeat
                    ended.append(TrainingEpisode(task.name, at, total, steps, float(judged)))
                    total, length, success = 0.0, 0, False
            self._begun[i] = total, length, success
        return sorted(ended, key=lambda episode: episode.step)

    def to_json(self) -> dict[str, Any]:
        """Mean return and number of the episodes of each span, [T][spans]; None: there are none."""
        means = [
            [round(total / n, 6) if n else None for total, n in zip(*row)]
            for row in zip(self.sums, self.counts)
        ]
        return {"episode_return": means, "episodes": self.counts}

    def state_dict(self) -> dict[str, Any]:
        """All of it; JSON-able."""
        finite = all(math.isfinite(total) for total, *_ in self._begun)
        begun = [list(each) for each in self._begun] if finite else []
        return {"sums": self.sums, "counts": self.counts, "begun": begun}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave, of the tasks that stand where they stood."""
        for mine, name in ((self.sums, "sums"), (self.counts, "counts")):
            for task, row in enumerate(state[name][: len(mine)]):
                if len(row) == self.spans:
                    mine[task] = list(row)
        self._begun = [(total, length, success) for total, length, success in state["begun"]]


def _turns(observation: Tensor, lesson: Sequence[Task]) -> Tensor:
    """Whose turn it is in each observation [*, m], by the mark at its end: int64 [*, 1]."""
    if len(lesson) == 1:
        return torch.zeros(*observation.shape[:-1], 1, dtype=torch.int64)
    marks = torch.tensor([task.mark for task in lesson], dtype=observation.dtype)
    ends = observation[..., None, observation.shape[-1] - marks.shape[-1] :]
    return (ends == marks).all(-1).long().argmax(-1, keepdim=True)
