"""What a simulator is, and that what it answers is what its protocol says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from cotasp.errors import RunError

T = TypeVar("T")


class Simulator(Protocol):
    """What one simulator must offer.

    Attributes:
        n_obs: length of an observation.
        n_act: length of an action; actions are in [-1, 1].
    """

    n_obs: int
    n_act: int

    def seed(self, seed: int) -> None:
        """Seeds everything random; equal seeds give equal episodes from the next reset on."""

    def reset(self) -> np.ndarray:
        """Starts an episode; its first observation, [n_obs]."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, bool]:
        """`observation, reward, terminated, truncated, success` after action [n_act]."""

    def rng_state(self) -> dict[str, Any]:
        """JSON-able state of everything random; between two episodes it is all there is."""

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Takes back what `rng_state` gave."""

    def close(self) -> None:
        """Frees what the simulator holds."""


def reset(simulator: Simulator) -> np.ndarray:
    """The first observation of an episode, [n_obs].

    Raises:
        RunError: it has another shape, or the simulator would end Python.
    """
    return _observation(_stays(simulator.reset), simulator.n_obs)


def step(simulator: Simulator, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, bool]:
    """What follows action [n_act], see `Simulator.step`.

    Raises:
        RunError: something of it has another form, or the simulator would end Python.
    """
    observation, reward, terminated, truncated, success = _stays(lambda: simulator.step(action))
    return (
        _observation(observation, simulator.n_obs),
        reward,
        flag("terminated", terminated),
        flag("truncated", truncated),
        flag("success", success),
    )


def flag(name: str, value: Any) -> bool:
    """A flag of a step: a bool, or a number that is 0 or 1.

    Raises:
        RunError: it is neither; a text, for one, would count as true whatever it says.
    """
    if type(value) is bool:
        return value
    number = np.asarray(value)
    if number.size == 1 and number.dtype.kind in "biuf" and number.item() in (0, 1):
        return bool(number.item())
    raise RunError(f"expected true or false as {name}, got {value!r:.40}")


def _stays(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except SystemExit as error:
        raise RunError(f"expected an answer, got sys.exit({error.code!r})") from error


def _observation(value: np.ndarray, size: int) -> np.ndarray:
    shape = np.shape(value)
    if shape != (size,):
        raise RunError(f"expected {size} numbers as observation, as its space says, got {shape}")
    return value
