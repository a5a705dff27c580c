"""What a run keeps of its evaluations and training, as far as metrics need it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotasp.storage.summary import MATRICES

Values = NDArray[np.float64]

NOT_REACHED = "not reached"  # in place of a number that a task never got to


@dataclass(frozen=True)
class Kept:
    """What a run keeps, as far as metrics need it: E evaluations of T tasks.

    Args:
        success: [E, T] in [0, 1], by the rule that counts; NaN where a task was not evaluated.
        trained: [E], the task in training at each evaluation; of a lesson of several, the first.
        task_steps: [E], environment steps that its lesson had taken.
        budget: environment steps per task.
        average: evaluations that values at an end are means of.
        threshold: success rate that counts as learned, in (0, 1].
        baseline: [T], AUC^b of single-task runs of the same budget; NaN where there is none.
        matrices: [E, T] by name, those of `MATRICES` that there are; returns are undiscounted.
        training_return: [T, S], mean undiscounted return of the episodes that training made in
            each of S equal spans of a task's budget; NaN where there was none.
        training_episodes: [T, S], their numbers.
        return_threshold: return that counts as learned; None: none does.
        lessons: [T], the first task of the lesson that each is learned in; None: tasks are learned
            one by one.
    """

    success: Values
    trained: NDArray[np.int64]
    task_steps: NDArray[np.int64]
    budget: int
    average: int = 5
    threshold: float = 0.9
    baseline: Values | None = None
    matrices: Mapping[str, Values] = field(default_factory=dict)
    training_return: Values | None = None
    training_episodes: Values | None = None
    return_threshold: float | None = None
    lessons: NDArray[np.int64] | None = None

    @classmethod
    def from_summary(cls, summary: Mapping[str, Any]) -> Kept:
        """What a `summary.json` holds."""
        stamp, evaluations = summary["protocol"], summary["evaluations"]
        matrices = {name: _matrix(summary[name]) for name in MATRICES if name in summary}
        return cls(
            success=_matrix(summary["success"]),
            trained=np.array(evaluations["trained"], dtype=np.int64),
            task_steps=np.array(evaluations["task_steps"], dtype=np.int64),
            budget=stamp["steps_per_task"],
            average=stamp["averaged_evaluations"],
            threshold=stamp["threshold"],
            baseline=None if summary.get("baseline") is None else row_of(summary["baseline"]),
            matrices=matrices,
            **of_training(summary.get("training")),
            return_threshold=stamp.get("return_threshold"),
            lessons=_lessons(evaluations.get("lessons")),
        )

    @property
    def tasks(self) -> int:
        """T."""
        return self.success.shape[1]

    @property
    def lesson(self) -> NDArray[np.int64]:
        """[T], the first task of the lesson that each is learned in."""
        return np.arange(self.tasks) if self.lessons is None else self.lessons

    def one_by_one(self, values: Values) -> Values:
        """The values [T] of tasks that have a budget of their own; NaN of the others."""
        sizes = np.bincount(self.lesson, minlength=self.tasks)[self.lesson]
        return np.where(sizes == 1, values, math.nan)

    def matrix(self, name: str) -> Values:
        """One of `MATRICES`, [E, T]; NaN where a run does not have it."""
        return self.matrices.get(name, np.full_like(self.success, math.nan))

    def at_end(self, values: Values) -> Values:
        """Of [E, T], each task's mean over the stream's last evaluations, [T]."""
        return row_of([mean_of_last(column, self.average) for column in values[-self.average :].T])

    def at_own_end(self, values: Values, average: int | None = None) -> Values:
        """Of [E, T], each task's mean over the last evaluations of its own training, [T]."""
        span = average or self.average
        own = zip(self.lesson, values.T)
        return row_of([mean_of_last(column[self.while_trained(i)], span) for i, column in own])

    def while_trained(self, task: int) -> NDArray[np.bool_]:
        """Which evaluations came after some of a task's training, and before the next's, [E]."""
        return (self.trained == task) & (self.task_steps > 0)


def of_training(kept: Mapping[str, Any] | None) -> dict[str, Values]:
    """The fields of `Kept` in what a run keeps of its training's episodes, if anything."""
    if kept is None:
        return {}
    names = {"training_return": "episode_return", "training_episodes": "episodes"}
    return {field: row_of(kept[name]) for field, name in names.items()}


def _lessons(numbers: Any) -> NDArray[np.int64] | None:
    return None if numbers is None else np.array(numbers, dtype=np.int64)


def row_of(values: Any) -> Values:
    """An array; None becomes NaN."""
    return np.array(values, dtype=np.float64)


def _matrix(columns: Any) -> Values:
    """[T, E] of a file, with null where there is no value, to [E, T]."""
    return row_of(columns).reshape(len(columns), -1).T


def mean_of_last(values: Values, count: int) -> float:
    """The mean of the last values that are known; NaN where none is."""
    values = values[~np.isnan(values)][-count:]
    return float(values.mean()) if len(values) else math.nan
