"""What a run's summary and stamp must hold for what reads them.

They are files, and files come from strangers and full disks: all that is read later is checked
here once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MATRICES = ("success_last", "success_any", "episode_return")  # kept of every evaluation


def damage(summary: Any) -> str | None:
    """What is wrong with a summary, in a few words; None: nothing.

    >>> damage([])
    'expected a mapping'
    """
    if not isinstance(summary, Mapping):
        return "expected a mapping"
    protocol, tasks = summary.get("protocol"), summary.get("tasks")
    if not isinstance(protocol, Mapping) or not isinstance(protocol.get("hash"), str):
        return "the protocol stamp is missing"
    if not _is_number(protocol.get("steps_per_task")) or protocol["steps_per_task"] <= 0:
        return "the protocol stamp has no steps_per_task"
    if not _is_count(protocol.get("averaged_evaluations")) or not protocol["averaged_evaluations"]:
        return "the protocol stamp has no averaged_evaluations"
    if not _is_number(protocol.get("threshold")):
        return "the protocol stamp has no threshold"
    if not _is_number(protocol.get("return_threshold", 0.0)):
        return "the protocol stamp's return_threshold is no number"
    formulas = protocol.get("formulas", {})
    if not isinstance(formulas, Mapping) or not all(isinstance(f, str) for f in formulas.values()):
        return "the protocol stamp's formulas cannot be read"
    if not _is_count(summary.get("seed")):
        return "the seed is missing"
    if not isinstance(tasks, list) or not tasks or not all(isinstance(t, str) for t in tasks):
        return "the tasks are missing"
    if len(set(tasks)) != len(tasks):
        return "two tasks have one name"
    return _damaged_numbers(summary, len(tasks)) or _damaged_facts(summary)


def stamp_damage(stamp: Any) -> str | None:
    """What is wrong with the stamp that a run begins with, in a few words; None: nothing.

    >>> stamp_damage({"versions": None})
    'versions is no mapping'
    """
    if not isinstance(stamp, Mapping):
        return "expected a mapping"
    for key in ("versions", "baseline"):
        if not isinstance(stamp.get(key, {}), Mapping):
            return f"{key} is no mapping"
    if not all(_is_number(auc) for auc in stamp.get("baseline", {}).values()):
        return "the baseline of a task is no number"
    return None


def _damaged_numbers(summary: Mapping[str, Any], tasks: int) -> str | None:
    """What is wrong with success rates and evaluations."""
    if summary.get("baseline") is not None and not _are_rates(summary["baseline"], tasks):
        return "the baseline does not have a rate or null for each task"
    evaluations = summary.get("evaluations")
    if not isinstance(evaluations, Mapping) or not isinstance(evaluations.get("trained"), list):
        return "the evaluations are missing"
    count = len(evaluations["trained"])
    for name in ("success", *(name for name in MATRICES if name in summary)):
        matrix, fits = summary.get(name), _are_numbers if name.endswith("return") else _are_rates
        if not isinstance(matrix, list) or len(matrix) != tasks:
            return f"{name} does not have one list for each task"
        if not all(fits(row, count) for row in matrix):
            return f"the evaluations do not fit {name}"
    per_task = summary.get("per_task", {})
    if not isinstance(per_task, Mapping) or not all(
        _are_numbers(row, tasks) for row in per_task.values()
    ):
        return "per_task is not one list of a number or null for each task"
    for name in per_task:
        if summary.get(name) is not None and not _is_number(summary[name]):
            return f"{name} is no number"
    if "training" in summary and not _is_training(summary["training"], tasks):
        return "the returns of training are not one list of numbers for each task"
    for key in ("trained", "task_steps"):
        values = evaluations.get(key)
        if not isinstance(values, list) or len(values) != count or not all(map(_is_count, values)):
            return f"the evaluations' {key} are not numbers, one for each"
    if max(evaluations["trained"], default=0) >= tasks:
        return "the evaluations' trained names a task that there is not"
    lessons = evaluations.get("lessons")
    if lessons is not None and not _are_lessons(lessons, tasks):
        return "the evaluations' lessons are not the first task of each task's"
    return None


def _are_lessons(values: Any, tasks: int) -> bool:
    fit = isinstance(values, list) and len(values) == tasks and all(map(_is_count, values))
    return fit and all(first <= task for task, first in enumerate(values))


_SIZES = ("steps", "weights", "active_weights", "kept_bytes")


def _damaged_facts(summary: Mapping[str, Any]) -> str | None:
    """What is wrong with what a run need not have."""
    facts = summary.get("task_facts", {})
    if not isinstance(facts, Mapping) or not all(isinstance(f, Mapping) for f in facts.values()):
        return "task_facts is no mapping of mappings"
    if not all(_is_number(v) or v is None for f in facts.values() for v in f.values()):
        return "a fact of a task is no number"
    capacity = summary.get("capacity_used", [])
    if not isinstance(capacity, list) or not all(map(_is_number, capacity)):
        return "capacity_used is no list of numbers"
    if not all(_is_number(summary.get(name, 0)) for name in _SIZES):
        return f"one of {', '.join(_SIZES)} is no number"
    if not isinstance(summary.get("versions", {}), Mapping):
        return "versions is no mapping"
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _are_numbers(values: Any, count: int) -> bool:
    """A list of so many numbers, null where there is none."""
    return (
        isinstance(values, list)
        and len(values) == count
        and all(v is None or _is_number(v) for v in values)
    )


def _are_rates(values: Any, count: int) -> bool:
    """A list of so many numbers in [0, 1], null where there is none."""
    return _are_numbers(values, count) and all(v is None or 0 <= v <= 1 for v in values)


def _is_training(value: Any, tasks: int) -> bool:
    """Returns and numbers of episodes, as many for each task, of one span of its budget or more."""
    if not isinstance(value, Mapping):
        return False
    returns, counts = value.get("episode_return"), value.get("episodes")
    for rows in (returns, counts):
        if not isinstance(rows, list) or len(rows) != tasks:
            return False
    size = len(returns[0]) if isinstance(returns[0], list) else -1  # type: ignore[index]  # seen to
    both = zip(returns, counts)  # type: ignore[arg-type]  # the same
    return size > 0 and all(
        _are_numbers(r, size) and _are_numbers(n, size) and all(map(_is_count, n)) for r, n in both
    )
