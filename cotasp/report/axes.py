"""What varies between the variants of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cotasp.report.runs import Sweep


def sweep_axes(names: Sequence[str], sweeps: Sequence[Sweep]) -> dict[str, list[str]]:
    """The axes of a sweep that made all variants, by name, each variant's value; or none.

    Where one directory has seen several sweeps, variants may have other axes than their neighbours:
    then there are none that all share.
    """
    for sweep in sweeps:
        rows = [sweep.axes.get(name) or {} for name in names]
        if rows and all(row and row.keys() == rows[0].keys() for row in rows):
            return {axis: [row[axis] for row in rows] for axis in rows[0]}
    return {}


def independent(axes: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Differences without those that split the variants as an earlier one does."""
    paths: dict[tuple[int, ...], str] = {}
    for path, values in axes.items():
        order = list(dict.fromkeys(values))
        paths.setdefault(tuple(order.index(value) for value in values), path)
    return {path: axes[path] for path in paths.values()}


def factorial(axes: Mapping[str, Sequence[str]], variants: int) -> bool:
    """Whether there are two axes or more, and a variant of each combination of their values.

    Args:
        axes: by name, each variant's value.
        variants: how many there are.
    """
    return len(axes) > 1 and math.prod(len(set(values)) for values in axes.values()) == variants
