"""States of random generators of any sort, as JSON holds them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

Generator = np.random.Generator | np.random.RandomState | random.Random


def generator_states(holder: Mapping[str, Any]) -> dict[str, Any]:
    """The states of those values of a mapping that are generators, by their keys; JSON-able.

    Args:
        holder: as `vars(object)`.
    """
    return {key: _state(value) for key, value in holder.items() if isinstance(value, Generator)}


def set_generator_states(holder: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Takes back what `generator_states` gave.

    Raises:
        KeyError, ValueError, TypeError: a generator is not there, or is of another sort.
    """
    for key, state in states.items():
        _set(holder[key], state)


def global_states() -> dict[str, Any]:
    """The states of Python's and NumPy's global generators; JSON-able."""
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002  (others may draw from it)
    return {"python": random.getstate(), "numpy": _plain(numpy)}


def set_global_states(states: Mapping[str, Any]) -> None:
    """Takes back what `global_states` gave, perhaps through JSON."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(_restored(states["numpy"]))  # noqa: NPY002


def _state(generator: Generator) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return _plain(generator.get_state(legacy=False))
    return _plain(generator.bit_generator.state)


def _set(generator: Generator, state: Any) -> None:
    if isinstance(generator, random.Random):
        version, numbers, gauss = state
        generator.setstate((version, tuple(numbers), gauss))
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_restored(state))
    else:
        generator.bit_generator.state = _restored(state)


def _plain(state: Any) -> Any:
    """Arrays as lists with their dtype."""
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return {"dtype": str(state.dtype), "values": state.tolist()}
    return state.item() if isinstance(state, np.generic) else state


def _restored(state: Any) -> Any:
    if not isinstance(state, Mapping):
        return state
    if set(state) == {"dtype", "values"}:
        return np.array(state["values"], state["dtype"])
    return {key: _restored(value) for key, value in state.items()}
