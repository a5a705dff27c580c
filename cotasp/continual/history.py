"""The evaluations of a run, and the figures made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cotasp.continual import metrics


def _plain(value: float | None, digits: int = 6) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


class History:
    """Success rates over the course of a stream.

    Args:
        tasks: names, in order.
        average: evaluations that final values are averaged over.
        threshold: of steps-to-threshold, in (0, 1].
    """

    def __init__(self, tasks: list[str], average: int, threshold: float) -> None:
        self.tasks = tasks
        self.average = average
        self.threshold = threshold
        self.facts: dict[str, dict[str, float | None]] = {}  # by task: neurons, dictionary, ...
        self.trained: list[int] = []
        self.task_steps: list[int] = []
        self._success: list[list[float]] = []

    def add(self, trained: int, task_steps: int, success: dict[int, float]) -> None:
        """One evaluation: success rates by task number; the others were not evaluated."""
        self.trained.append(trained)
        self.task_steps.append(task_steps)
        self._success.append([success.get(i, math.nan) for i in range(len(self.tasks))])

    def add_facts(self, task: str, values: Mapping[str, float]) -> None:
        """What the learner tells of a task; None stands for what is not finite."""
        known = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self.facts.setdefault(task, {}).update(known)

    @property
    def success(self) -> metrics.Success:
        """[E, T], NaN where a task was not evaluated."""
        return np.array(self._success, dtype=np.float64).reshape(-1, len(self.tasks))

    def to_json(self) -> dict[str, Any]:
        """The evaluations, one row each, null where a task was not evaluated."""
        return {
            "tasks": self.tasks,
            "trained": self.trained,
            "task_steps": self.task_steps,
            "success": [[_plain(v) for v in row] for row in self._success],
        }

    def state_dict(self) -> dict[str, Any]:
        """All that has been added, without rounding; JSON-able."""
        return {
            "tasks": list(self.tasks),
            "facts": self.facts,
            "trained": list(self.trained),
            "task_steps": list(self.task_steps),
            "success": [[None if math.isnan(v) else v for v in row] for row in self._success],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned, of the tasks that stand where they stood."""
        self.facts = {task: dict(facts) for task, facts in state["facts"].items()}
        self.trained, self.task_steps = list(state["trained"]), list(state["task_steps"])
        same = [mine == theirs for mine, theirs in zip(self.tasks, state["tasks"])]
        self._success = [
            [math.nan if v is None or not same[i] else v for i, v in enumerate(row[: len(same)])]
            + [math.nan] * (len(self.tasks) - len(same))
            for row in state["success"]
        ]

    def summary(self, baseline: list[float | None]) -> dict[str, Any]:
        """P, F, FT, G and the success matrix (task x evaluation), null where there is no value.

        Args:
            baseline: AUC^b of each task, [T]; FT needs all of them.
        """
        success, trained = self.success, np.array(self.trained)
        steps, average = np.array(self.task_steps), self.average
        reached = metrics.steps_to_threshold(success, trained, steps, self.threshold)
        auc = metrics.area_under_curve(success, trained)
        known = [math.nan if b is None else b for b in baseline]
        transfer = metrics.forward_transfer(auc, known)
        return {
            "performance": _plain(metrics.performance(success, average)),
            "forgetting": _plain(metrics.forgetting(success, trained, average)),
            "forward_transfer": _plain(float(np.mean(transfer))),
            "steps_to_threshold": [_plain(g) for g in reached],
            "tasks": self.tasks,
            "success": [[_plain(v) for v in column] for column in success.T],
            "final_success": [_plain(v) for v in metrics.final_success(success, average)],
            "own_success": [_plain(v) for v in metrics.own_success(success, trained, average)],
            "area_under_curve": [_plain(v) for v in auc],
            "forward_transfer_per_task": [_plain(v) for v in transfer],
            "task_facts": {
                task: {name: _plain(value, 9) for name, value in facts.items()}
                for task, facts in self.facts.items()
            },
            "evaluations": {"trained": self.trained, "task_steps": self.task_steps},
        }
