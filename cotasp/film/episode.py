"""An episode that was watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Episode:
    """An episode: its frames, and how it went.

    Args:
        task: name of the task in whose environment it was played.
        text: the sentence, or the task's own text.
        success: whether it counts as solved, by the run's rule; of a task that is judged by its
            return, the normalised return, in [0, 1].
        episode_return: undiscounted sum of rewards.
        steps: environment steps.
        frames: [height, width, 3] uint8 each, the first before the first action.
        solved: of each frame, whether the step before it was a success.
    """

    task: str
    text: str
    success: bool | float
    episode_return: float
    steps: int
    frames: tuple[np.ndarray, ...]
    solved: tuple[bool, ...]
