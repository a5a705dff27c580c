"""What a checkpoint holds of an episode under way, instead of a simulator's physics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cotasp.errors import RunError
from cotasp.tasks.answers import Simulator

Flags = tuple[bool, ...]  # of a step: terminated, truncated, success, succeeded
Act = Callable[[Simulator, np.ndarray], tuple[np.ndarray, float, Flags]]


@dataclass
class Record:
    """What repeats an episode as far as it has gone, and tells whether it is the same.

    Args:
        random: the simulator's random state before the reset.
        actions: since, [n_act] each.
        answers: reward (float32) and flags after each.
        before: the episode before, kept until this one has an action: what a simulator hides, a
            reset alone does not show.
    """

    random: dict[str, Any]
    actions: list[np.ndarray] = field(default_factory=list)
    answers: list[list[float]] = field(default_factory=list)
    before: Record | None = None

    def follow(self) -> Record | None:
        """What the next episode is to keep as the one before."""
        return Record(self.random, self.actions, self.answers) if self.actions else self.before

    def begin_step(self, action: np.ndarray) -> None:
        """Adds an action [n_act]."""
        self.actions.append(action.copy())
        self.before = None

    def end_step(self, reward: float, flags: Flags) -> None:
        """Adds what came of it."""
        self.answers.append(_row(reward, flags))

    def state(self) -> dict[str, Any]:
        """The record, JSON-able."""
        return {
            "random": self.random,
            "actions": [action.tolist() for action in self.actions],
            "answers": self.answers,
            "before": self.before and self.before.state(),
        }

    def repeat(self, simulator: Simulator, act: Act) -> np.ndarray:
        """Brings a simulator to where it was; its last observation, [n_obs].

        Raises:
            RunError: other rewards or flags than then.
        """
        if self.before is not None:
            self.before.repeat(simulator, act)
        simulator.set_rng_state(self.random)
        observation, answers = simulator.reset(), []
        for action in self.actions:
            observation, reward, flags = act(simulator, action)
            answers.append(_row(reward, flags))
        pair = np.array(answers, np.float32), np.array(self.answers, np.float32)
        if not np.array_equal(*pair, equal_nan=True):
            raise self.not_repeated(simulator, "other rewards or ends")
        return observation

    def not_repeated(self, simulator: Simulator, difference: str) -> RunError:
        """The error of an episode that went differently the second time."""
        return RunError(
            f"{type(simulator).__name__}: an episode could not be repeated: expected the same from "
            f"the same random state and the same {len(self.actions)} actions, got {difference}; "
            f"draw from `np_random` all that is random, and carry nothing else from one episode "
            f"into the next"
        )


def record_of(state: dict[str, Any]) -> Record:
    """The record that gave a state."""
    before = state["before"]
    actions = [np.array(action, np.float32) for action in state["actions"]]
    return Record(state["random"], actions, state["answers"], before and record_of(before))


def _row(reward: float, flags: Flags) -> list[float]:
    return [np.asarray(reward, np.float32).item(), *map(float, flags)]
