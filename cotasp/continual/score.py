"""The outcome of one evaluation of one task."""

from __future__ import annotations

from typing import NamedTuple


class Score(NamedTuple):
    """Means over the episodes of one evaluation.

    Of a task that is judged by its return, the success is the mean normalised return.

    Args:
        success: fraction of episodes that succeed, by the rule that counts.
        success_last: that succeed at their last step.
        success_any: that succeed at any step.
        episode_return: mean undiscounted return.
        episode_length: mean length in steps.
        faults: of the environment that were skipped; their episodes count as failed.
    """

    success: float
    success_last: float
    success_any: float
    episode_return: float
    episode_length: float
    faults: int = 0
