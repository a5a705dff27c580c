"""Parameters of a family's tasks, and the order in which they come."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Literal, TypeVar

from cotasp.errors import RecipeError

Order = Literal["random", "sweep"]
S = TypeVar("S")


def parameters(count: int, low: float, high: float, order: Order, seed: int, digits: int) -> list:
    """One number in [low, high] per task, rounded.

    Args:
        count: tasks.
        low, high: bounds.
        order: `"random"`: drawn independently and uniformly, a stationary stream; `"sweep"`: evenly
            spaced from low to high, so that the next task lies beyond all that were seen.
        seed: of what is drawn.
        digits: after the decimal point.
    """
    if order == "random":
        draw = random.Random(seed)
        return [round(draw.uniform(low, high), digits) for _ in range(count)]
    step = (high - low) / max(1, count - 1)
    return [round(low + i * step, digits) for i in range(count)]


def angles(count: int, arc: float, order: Order, seed: int) -> list[float]:
    """One angle per task in degrees, in tenths; a sweep round the whole circle does not end where
    it began.

    Args:
        count, order, seed: as of `parameters`.
        arc: degrees that the angles lie in, from 0 on, at most 360.
    """
    whole = order == "sweep" and arc == 360 and count > 1
    return parameters(count, 0.0, arc - arc / count if whole else arc, order, seed, 1)


def taken(values: list, only: int | None) -> list:
    """All of a family's parameters, or the one that a stream takes alone."""
    return values if only is None else [values[only]]


def alone(stream: S, index: int) -> S:
    """A family's stream of one of its tasks; one that has a single task already stays as it is."""
    only = stream.only  # type: ignore[attr-defined]  # a field of every family
    return replace(stream, only=index if only is None else only)  # type: ignore[type-var]


def check_family(stream: object, count: int, seed: int, only: int | None) -> None:
    """Raises RecipeError for no task, a seed that is none, or a task that there is not."""
    name = type(stream).__name__
    if not 1 <= count <= 10_000:
        raise RecipeError(f"{name}.count: expected 1 to 10000 tasks, got {count}")
    if only is not None and not 0 <= only < count:
        raise RecipeError(f"{name}.only: expected 0 to {count - 1}, of {count} tasks, got {only}")
    if not 0 <= seed < 2**31:
        raise RecipeError(f"{name}.seed: expected in [0, 2^31), got {seed}")


def check_arc(stream: object, arc: float) -> None:
    """Raises RecipeError unless an arc is one of a circle."""
    if not 0 < arc <= 360:
        raise RecipeError(
            f"{type(stream).__name__}.arc: expected above 0 and at most 360 degrees, got {arc:g}"
        )
