"""Metrics of continual learning, from success rates over evaluations.

Throughout, p_i(t) is the success rate of task i at evaluation t.  `success` is [E, T]: one row
per evaluation, one column per task, NaN where a task was not evaluated; `trained` is [E]: the
task in training at each evaluation.  Every value over a span of evaluations is the mean of the
last `average` of them (Continual World, arXiv 2105.10919, averages five).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Success = NDArray[np.float64]

FORMULAS = {
    "performance": "P = mean_i p_i(end)",
    "forgetting": "F = mean_i [p_i(end of its own training) - p_i(end)]",
    "forward_transfer": "FT = mean_i (AUC_i - AUC^b_i) / (1 - AUC^b_i), AUC_i = mean of p_i "
    "while i trains, b = single-task run of the same budget",
    "steps_to_threshold": "G_i = environment steps, in millions, until p_i first reaches the "
    "threshold while i trains",
}


def _mean_of_last(values: Success, average: int) -> float:
    values = values[~np.isnan(values)][-average:]
    return float(values.mean()) if len(values) else float("nan")


def final_success(success: Success, average: int = 5) -> list[float]:
    """p_i(end) of each task, [T]: over the stream's last `average` evaluations."""
    return [_mean_of_last(column, average) for column in success[-average:].T]


def own_success(success: Success, trained: NDArray[np.int64], average: int = 5) -> list[float]:
    """p_i(end of its own training) of each task, [T]."""
    return [_mean_of_last(success[trained == i, i], average) for i in range(success.shape[1])]


def untrained_success(success: Success, trained: NDArray[np.int64]) -> list[float]:
    """p_i just before its own training, by the policy that its text alone gives, [T].

    NaN where it was not evaluated then.  R_{i-1,i} of Gradient Episodic Memory (arXiv 1706.08840).
    """
    return [_mean_of_last(success[trained < i, i], 1) for i in range(success.shape[1])]


def performance(success: Success, average: int = 5) -> float:
    """P = mean_i p_i(end), in [0, 1]."""
    return float(np.mean(final_success(success, average)))


def forgetting(success: Success, trained: NDArray[np.int64], average: int = 5) -> float:
    """F = mean_i [p_i(end of its own training) - p_i(end)], in [-1, 1]."""
    own, final = own_success(success, trained, average), final_success(success, average)
    return float(np.mean(np.subtract(own, final)))


def area_under_curve(success: Success, trained: NDArray[np.int64]) -> list[float]:
    """AUC_i of each task, [T]: mean of p_i over the evaluations while i trains."""
    return [_mean_of_last(success[trained == i, i], len(success)) for i in range(success.shape[1])]


def forward_transfer(auc: list[float], baseline: list[float]) -> list[float]:
    """FT_i = (AUC_i - AUC^b_i) / (1 - AUC^b_i) of each task; NaN where the baseline is perfect.

    Args:
        auc: AUC_i of the continual run, [T].
        baseline: AUC^b_i of single-task runs of the same budget, [T].
    """
    return [float("nan") if b == 1.0 else (a - b) / (1.0 - b) for a, b in zip(auc, baseline)]


def steps_to_threshold(
    success: Success,
    trained: NDArray[np.int64],
    task_steps: NDArray[np.int64],
    threshold: float = 0.9,
) -> list[float | None]:
    """G_i of each task, [T]: millions of steps until p_i >= threshold; None if it never is.

    Args:
        task_steps: [E], steps that the task in training had taken at each evaluation.
        threshold: in (0, 1].
    """
    result: list[float | None] = []
    for i in range(success.shape[1]):
        reached = task_steps[(trained == i) & (success[:, i] >= threshold)]
        result.append(float(reached[0]) / 1e6 if len(reached) else None)
    return result
