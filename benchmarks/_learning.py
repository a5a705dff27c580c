"""When a task counts as learned, and figures of trials of which some never learned it.

What a trial that was not learned within its budget would have taken is only known to be more than
the budget.  So every figure is a pair of bounds, which are equal where it is known, and medians and
ratios are taken of lower and of upper bounds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

REACHED, KEPT, FOLLOWING = 0.9, 0.8, 3  # success; success; evaluations
RESAMPLES = 10_000

Curve = list[tuple[int, float, float]]  # environment steps, success, CPU seconds, by evaluation


class Bounds(NamedTuple):
    """A number between two others; known where they are equal."""

    low: float
    high: float


def learned(success: Sequence[float], end_counts: bool = False) -> int | None:
    """Number of the evaluation at which a task was learned, or None.

    It is the first with success of at least 0.9 that the next three, or as many as there are,
    follow with at least 0.8.

    Args:
        success: at each evaluation.
        end_counts: whether the last evaluation, which nothing follows, may be it.
    """
    for index, value in enumerate(success):
        following = success[index + 1 : index + 1 + FOLLOWING]
        kept = all(later >= KEPT for later in following)
        if value >= REACHED and kept and (following or end_counts):
            return index
    return None


def duration(curve: Curve, column: int, end_counts: bool = False) -> Bounds:
    """Environment steps (column 0) or CPU seconds (column 2) until learned."""
    index = learned([point[1] for point in curve], end_counts)
    if index is None:
        return Bounds(curve[-1][column], math.inf)
    return Bounds(curve[index][column], curve[index][column])


def ratio(numerator: Bounds, denominator: Bounds) -> Bounds:
    """How many times the denominator the numerator is.

    >>> ratio(Bounds(30, math.inf), Bounds(10, 10))
    Bounds(low=3.0, high=inf)
    """
    return Bounds(numerator.low / denominator.high, numerator.high / denominator.low)


def median(values: Sequence[Bounds]) -> Bounds:
    """Bounds of the median."""
    return Bounds(*map(statistics.median, zip(*values)))


def minimum(values: Sequence[Bounds]) -> Bounds:
    """Bounds of the minimum."""
    return Bounds(*map(min, zip(*values)))


def interval(values: Sequence[Bounds]) -> tuple[Bounds, Bounds]:
    """Ends of the median's 95 % bootstrap interval (percentiles, seeds drawn with replacement)."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    medians = np.sort(np.median(np.array(values)[drawn], axis=1), axis=0)  # [resamples, 2]
    low, high = (medians[int(share * RESAMPLES)].tolist() for share in (0.025, 0.975))
    return Bounds(*low), Bounds(*high)


def shown(value: Bounds, form: str) -> str:
    """The number, or what it is more or less than.

    >>> [shown(Bounds(*pair), ".1f") for pair in ((2, 2), (2, math.inf), (0, 2), (2, 3))]
    ['2.0', '> 2.0', '< 2.0', '2.0 to 3.0']
    """
    low, high = format(value.low, form), format(value.high, form)
    if value.low == value.high:
        return low
    if math.isinf(value.high):
        return f"> {low}" if value.low > 0 else "?"
    return f"{low} to {high}" if value.low > 0 else f"< {high}"


def compact(curve: Curve) -> str:
    """Success against environment steps in a line.

    >>> compact([(500, 0.0, 1.0), (4000, 0.7, 8.0), (8000, 1.0, 17.0)])
    '500:0 4k:.7 8k:1'
    """
    points = []
    for steps, success, _ in curve:
        at = f"{steps / 1000:g}k" if steps >= 1000 else str(steps)
        points.append(f"{at}:{f'{success:.2g}'.removeprefix('0') or '0'}")
    return " ".join(points)
