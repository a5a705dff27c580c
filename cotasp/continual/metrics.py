"""Metrics of continual learning: each is one entry of `METRICS`, computed from what a run keeps.

Throughout, p_i(t) is the success rate of task i at evaluation t, by the rule that counts; "end" is
the mean of a span's last `average` evaluations (Continual World, arXiv 2105.10919, averages five).
The evaluation at step 0 of a task, before its training, begins its curve and counts in no metric.
A metric gives each task a value, NaN where there is none; a run's value is the mean over tasks.

A new metric is a new entry.  Nothing else changes: summaries and reports have it, also of runs
that were written before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cotasp.continual.kept import Kept, Values, mean_of_last, row_of
from cotasp.errors import RunError


def _performance(kept: Kept) -> Values:
    return kept.at_end(kept.success)


def _plasticity(kept: Kept) -> Values:
    return kept.at_own_end(kept.success)


def _forgetting(kept: Kept) -> Values:
    forgotten = _plasticity(kept) - _performance(kept)
    # nothing comes after a stream's only lesson
    return forgotten if kept.lesson.any() or kept.tasks == 1 else np.full(kept.tasks, math.nan)


def _zero_shot(kept: Kept) -> Values:
    before = [kept.success[kept.trained < first, i] for i, first in enumerate(kept.lesson)]
    return row_of([mean_of_last(values, 1) for values in before])


def _area_under_curve(kept: Kept) -> Values:
    return kept.at_own_end(kept.success, average=len(kept.success))


def _forward_transfer(kept: Kept) -> Values:
    if kept.baseline is None:
        return np.full(kept.tasks, math.nan)
    room = 1.0 - kept.baseline
    room[room == 0.0] = math.nan  # where the baseline is perfect
    return kept.one_by_one((_area_under_curve(kept) - kept.baseline) / room)


def _first_at_threshold(kept: Kept) -> list[int | None]:
    """Steps of each task's training until it first reached the threshold, [T]."""
    first_steps: list[int | None] = []
    for i in range(kept.tasks):
        steps = kept.task_steps[kept.while_trained(i) & (kept.success[:, i] >= kept.threshold)]
        first_steps.append(int(steps[0]) if len(steps) else None)
    return first_steps


def _while_evaluated(kept: Kept, values: list[float]) -> Values:
    """The values of tasks that were evaluated while they alone trained; NaN of the others."""
    return kept.one_by_one(np.where(np.isnan(_area_under_curve(kept)), math.nan, row_of(values)))


def _steps_to_threshold(kept: Kept) -> Values:
    first = _first_at_threshold(kept)
    return _while_evaluated(kept, [kept.budget if g is None else g for g in first])


def _reached(kept: Kept) -> Values:
    return _while_evaluated(kept, [float(g is not None) for g in _first_at_threshold(kept)])


def _not_reached(kept: Kept) -> Values:
    return 1.0 - _reached(kept)


def _final_return(kept: Kept) -> Values:
    return kept.at_end(kept.matrix("episode_return"))


def _training_return(kept: Kept) -> Values:
    returns, counts = kept.training_return, kept.training_episodes
    if returns is None or counts is None:
        return np.full(kept.tasks, math.nan)
    total, number = np.nansum(returns * counts, axis=1), counts.sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), math.nan)


def _return_not_reached(kept: Kept) -> Values:
    returns, counts = kept.training_return, kept.training_episodes
    if returns is None or counts is None or kept.return_threshold is None:
        return np.full(kept.tasks, math.nan)
    best = np.nan_to_num(returns, nan=-math.inf).max(axis=1)
    missed = np.where(best >= kept.return_threshold, 0.0, 1.0)
    return np.where(counts.sum(axis=1) > 0, missed, math.nan)


def _episodes_to_return(kept: Kept) -> Values:
    returns, counts = kept.training_return, kept.training_episodes
    if returns is None or counts is None or kept.return_threshold is None:
        return np.full(kept.tasks, math.nan)
    reached = np.nan_to_num(returns, nan=-math.inf) >= kept.return_threshold
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), counts.shape[1])
    before = [float(row[:n].sum()) for row, n in zip(counts, first)]
    return np.where(counts.sum(axis=1) > 0, row_of(before), math.nan)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        name: key in summaries and tables.
        symbol: in headings.
        formula: that `function` computes; recorded beside results and compared, metric by metric.
        higher_is_better: its direction.
        unit: `"rate"` (success rates and their differences), `"steps"` of the environment,
            `"return"`, or `"episodes"`.
        function: from what a run keeps to each task's value, [T]; NaN where there is none.
        first: number of the first task that can have a value.
        unreached: of metrics that count until something is reached, from what a run keeps to 1.0
            where a task never got there, so that its value is only a lower bound, else 0.0, [T].
    """

    name: str
    symbol: str
    formula: str
    higher_is_better: bool
    unit: Literal["rate", "steps", "return", "episodes"]
    function: Callable[[Kept], Values]
    first: int = 0
    unreached: Callable[[Kept], Values] | None = None

    def per_task(self, kept: Kept) -> Values:
        """Each task's value, [T]; NaN where there is none.

        Raises:
            RunError: the function failed.
        """
        try:
            return self.function(kept)
        except Exception as error:
            raise RunError(
                f"metric {self.name}: {type(error).__name__}: {error}; --debug shows where"
            ) from error

    def __call__(self, kept: Kept) -> float:
        """The run's value: the mean over tasks; NaN where one of them has none."""
        values = self.per_task(kept)[self.first :]
        return float(np.mean(values)) if len(values) else math.nan


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "performance",
            "P",
            "P = mean_i p_i(end)",
            True,
            "rate",
            _performance,
        ),
        Metric(
            "forgetting",
            "F",
            "F = mean_i [p_i(end of its own training) - p_i(end)]",
            False,
            "rate",
            _forgetting,
        ),
        Metric(
            "forward_transfer",
            "FT",
            "FT = mean_i (AUC_i - AUC^b_i) / (1 - AUC^b_i), AUC_i = mean of p_i while i trains, "
            "b = single-task run of the same budget",
            True,
            "rate",
            _forward_transfer,
        ),
        Metric(
            "steps_to_threshold",
            "G",
            "G = mean_i of the environment steps until p_i first reaches the threshold while i "
            "trains, the whole budget where it never does",
            False,
            "steps",
            _steps_to_threshold,
            unreached=_not_reached,
        ),
        Metric(
            "reached",
            "reached",
            "reached = fraction of tasks whose p_i reaches the threshold while i trains",
            True,
            "rate",
            _reached,
        ),
        Metric(
            "plasticity",
            "PL",
            "PL = mean_i p_i(end of its own training)",
            True,
            "rate",
            _plasticity,
        ),
        Metric(
            "zero_shot",
            "ZS",  # R_{i-1,i} of Gradient Episodic Memory, arXiv 1706.08840
            "ZS = mean over i > 1 of p_i just before its own training, by the policy that its text "
            "alone gives",
            True,
            "rate",
            _zero_shot,
            first=1,
        ),
        Metric(
            "area_under_curve",
            "AUC",
            "AUC = mean_i of the mean of p_i over the evaluations while i trains",
            True,
            "rate",
            _area_under_curve,
        ),
        Metric(
            "final_return",
            "R",
            "R = mean_i of the undiscounted return of i at the end",
            True,
            "return",
            _final_return,
        ),
        Metric(
            "training_return",
            "A",
            "A = mean_i of the mean undiscounted return of the episodes that i trains on",
            True,
            "return",
            _training_return,
        ),
        Metric(
            "episodes_to_return",
            "E",
            "E = mean_i of the episodes that i trains on before the first span of its budget whose "
            "mean return reaches the return threshold, all of them where none does",
            False,
            "episodes",
            _episodes_to_return,
            unreached=_return_not_reached,
        ),
    )
}
