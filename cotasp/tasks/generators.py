"""States of random generators of any sort, as JSON holds them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping
from numbers import Number
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from cotasp.errors import RunError

Generator = np.random.Generator | np.random.RandomState | random.Random | torch.Generator
_CLOSED = (str, bytes, Number, np.ndarray, torch.Tensor, type, ModuleType, FunctionType)
_DEPTH = 4  # of objects within objects
_LONGEST = 1000  # items of a container; what has more is data


def generator_states(root: Any) -> dict[str, Any]:
    """The states of the generators that an object holds, by where they are; JSON-able.

    They are looked for in attributes, dicts and lists, and in those of what is there, four deep.
    """
    return {place: _state(generator) for place, generator in _generators(root).items()}


def set_generator_states(root: Any, states: Mapping[str, Any]) -> None:
    """Takes back what `generator_states` gave.

    Raises:
        RunError: a generator is not there.
        ValueError, TypeError: a generator is of another sort.
    """
    generators = _generators(root) if states else {}
    for place, state in states.items():
        if place not in generators:
            raise RunError(
                f"expected a random generator at {place} as when the state was saved, got none; "
                f"let the first seeded reset make it"
            )
        _set(generators[place], state)


def _generators(root: Any) -> dict[str, Generator]:
    """The generators that an object holds, the nearest first."""
    found: dict[str, Generator] = {}
    known, level = {id(root)}, [("", root)]
    for _ in range(_DEPTH + 1):
        deeper = []
        for place, holder in level:
            for key, value in _parts(holder):
                there = f"{place}.{key}" if place else str(key)
                if isinstance(value, Generator):
                    found[there] = value
                elif (
                    value is not None and not isinstance(value, _CLOSED) and id(value) not in known
                ):
                    known.add(id(value))  # of a circle, or held by several, it is looked at once
                    deeper.append((there, value))
        level = deeper
    return found


def _parts(holder: Any) -> Iterable[tuple[Any, Any]]:
    """Names and values of what an object or a container holds."""
    if isinstance(holder, (list, tuple, deque)):
        return enumerate(holder) if len(holder) <= _LONGEST else ()
    parts = holder if isinstance(holder, dict) else getattr(holder, "__dict__", {})
    # sorted, for the order in which attributes were set may be another after a stop
    return sorted(parts.items(), key=lambda part: str(part[0])) if len(parts) <= _LONGEST else ()


def global_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's global generators; JSON-able."""
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002  (others may draw from it)
    cpu = _state(torch.default_generator)
    return {"python": random.getstate(), "numpy": _plain(numpy), "torch": cpu}


def set_global_states(states: Mapping[str, Any]) -> None:
    """Takes back what `global_states` gave, perhaps through JSON."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(_restored(states["numpy"]))  # noqa: NPY002
    _set(torch.default_generator, states["torch"])


def _state(generator: Generator) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, torch.Generator):
        return generator.get_state().numpy().tobytes().hex()
    if isinstance(generator, np.random.RandomState):
        return _plain(generator.get_state(legacy=False))
    return _plain(generator.bit_generator.state)


def _set(generator: Generator, state: Any) -> None:
    if isinstance(generator, random.Random):
        version, numbers, gauss = state
        generator.setstate((version, tuple(numbers), gauss))
    elif isinstance(generator, torch.Generator):
        generator.set_state(torch.tensor(list(bytes.fromhex(state)), dtype=torch.uint8))
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
