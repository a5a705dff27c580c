"""The evaluations of a run, and the figures made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cotasp.continual.kept import Kept, Values, of_training
from cotasp.continual.metrics import METRICS
from cotasp.continual.score import Score
from cotasp.storage.summary import MATRICES


def _plain(value: float | None, digits: int = 6) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def _rows(matrix: Values) -> list[list[float | None]]:
    return [[_plain(value) for value in row] for row in matrix]


class History:
    """Success, by both rules, and returns over the course of a stream.

    Args:
        tasks: names, in order.
        rule: `"last"` or `"any"`, the success that counts.
        budget: environment steps per task.
        average: evaluations that final values are averaged over.
        threshold: of steps-to-threshold, in (0, 1].
        return_threshold: of episodes-to-return; None: there is none.
        lessons: of each task the first of the lesson that it is learned in; None: each its own.
    """

    def __init__(
        self,
        tasks: list[str],
        rule: str,
        budget: int,
        average: int,
        threshold: float,
        return_threshold: float | None = None,
        lessons: Sequence[int] | None = None,
    ) -> None:
        self.tasks = tasks
        self.rule = rule
        self.budget = budget
        self.average = average
        self.threshold = threshold
        self.return_threshold = return_threshold
        self.lessons = None if lessons is None else list(lessons)
        self.facts: dict[str, dict[str, float | None]] = {}  # by task: neurons, dictionary, ...
        self.trained: list[int] = []
        self.task_steps: list[int] = []
        self._scores: dict[str, list[list[float]]] = {name: [] for name in MATRICES}

    def add(self, trained: int, task_steps: int, scores: Mapping[int, Score]) -> None:
        """One evaluation: scores by task number; the others were not evaluated."""
        self.trained.append(trained)
        self.task_steps.append(task_steps)
        for name, rows in self._scores.items():
            rows.append(self._row({i: float(getattr(s, name)) for i, s in scores.items()}))

    def _row(self, known: Mapping[int, float]) -> list[float]:
        """[T], of values by task number."""
        return [known.get(i, math.nan) for i in range(len(self.tasks))]

    def add_facts(self, task: str, values: Mapping[str, float]) -> None:
        """What the learner tells of a task; None stands for what is not finite."""
        known = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self.facts.setdefault(task, {}).update(known)

    @property
    def matrices(self) -> dict[str, Values]:
        """Those of `MATRICES`, [E, T], NaN where a task was not evaluated."""
        return {
            name: np.array(rows, dtype=np.float64).reshape(-1, len(self.tasks))
            for name, rows in self._scores.items()
        }

    @property
    def success(self) -> Values:
        """That which counts, [E, T], NaN where a task was not evaluated."""
        return self.matrices[f"success_{self.rule}"]

    def to_json(self) -> dict[str, Any]:
        """The evaluations, one row each, null where a task was not evaluated."""
        return {
            "tasks": self.tasks,
            "trained": self.trained,
            "task_steps": self.task_steps,
            "success": _rows(self.success),
            **{name: _rows(matrix) for name, matrix in self.matrices.items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """All that has been added, without rounding; JSON-able."""
        return {
            "tasks": list(self.tasks),
            "facts": self.facts,
            "trained": list(self.trained),
            "task_steps": list(self.task_steps),
            **{
                name: [[None if math.isnan(v) else v for v in row] for row in rows]
                for name, rows in self._scores.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned, of the tasks that stand where they stood."""
        self.facts = {task: dict(facts) for task, facts in state["facts"].items()}
        self.trained, self.task_steps = list(state["trained"]), list(state["task_steps"])
        then = [*state["tasks"], *[None] * len(self.tasks)]
        same = [i for i, task in enumerate(self.tasks) if task == then[i]]
        self._scores = {
            name: [
                self._row({i: row[i] for i in same if row[i] is not None}) for row in state[name]
            ]
            for name in MATRICES
        }

    def kept(
        self, baseline: Sequence[float | None], training: Mapping[str, Any] | None = None
    ) -> Kept:
        """What metrics are computed from.

        Args:
            baseline: AUC^b of each task, [T]; None where there is none.
            training: `TrainingEpisodes.to_json()`; None: nothing is known.
        """
        return Kept(
            success=self.success,
            trained=np.array(self.trained, dtype=np.int64),
            task_steps=np.array(self.task_steps, dtype=np.int64),
            budget=self.budget,
            average=self.average,
            threshold=self.threshold,
            baseline=np.array(baseline, dtype=np.float64),
            matrices=self.matrices,
            **of_training(training),
            return_threshold=self.return_threshold,
            lessons=None if self.lessons is None else np.array(self.lessons, dtype=np.int64),
        )

    def summary(
        self, baseline: Sequence[float | None], training: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Every metric, of the run and per task, and the matrices (task x evaluation).

        Args:
            baseline: AUC^b of each task, [T]; forward transfer needs all of them.
            training: as of `kept`.
        """
        kept = self.kept(baseline, training)
        return {
            **{name: _plain(metric(kept)) for name, metric in METRICS.items()},
            "per_task": {
                name: [_plain(value) for value in metric.per_task(kept)]
                for name, metric in METRICS.items()
            },
            "tasks": self.tasks,
            "success": _rows(self.success.T),
            **{name: _rows(matrix.T) for name, matrix in self.matrices.items()},
            "baseline": [_plain(value) for value in baseline],
            **({} if training is None else {"training": dict(training)}),
            "task_facts": {
                task: {name: _plain(value, 9) for name, value in facts.items()}
                for task, facts in self.facts.items()
            },
            "evaluations": {
                "trained": self.trained,
                "task_steps": self.task_steps,
                **({} if self.lessons is None else {"lessons": self.lessons}),
            },
        }
