"""A run's summary as text."""

from __future__ import annotations

from typing import Any

from cotasp.continual.kept import NOT_REACHED

_COLUMNS = ("plasticity", "performance", "forgetting", "steps_to_threshold", "reached")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def summary_table(summary: dict[str, Any]) -> str:
    """Per task: success after its own training, at the end, forgotten, and steps to threshold."""
    columns, unknown = summary.get("per_task", {}), [None] * len(summary["tasks"])
    stamp = summary["protocol"]
    width = max(len("task"), *map(len, summary["tasks"]))
    lines = [f"{'task':<{width}}  trained  at end  forgotten  steps to {stamp['threshold']:g}"]
    rows = zip(summary["tasks"], *(columns.get(name, unknown) for name in _COLUMNS))
    for name, own, final, forgotten, steps, reached in rows:
        needed = "-" if None in (reached, steps) else f"{steps:,.0f}" if reached else NOT_REACHED
        lines.append(
            f"{name:<{width}}  {_cell(own):>7}  {_cell(final):>6}  {_cell(forgotten):>9}"
            f"  {needed:>12}"
        )
    if "capacity_used" in summary:  # of learners that share a network out
        used = ", ".join(f"{fraction:.0%}" for fraction in summary["capacity_used"])
        lines.append(f"neurons in use per layer: {used}")
    by_return = stamp.get("success_return", "None") != "None"
    rule = stamp.get("success_rule", "-")
    if by_return:
        rule = f"{rule} or, where none is reported, its return"
    lines.append(
        f"success: {rule}, {stamp.get('evaluation_mode')}, {stamp.get('episodes')} "
        f"episodes, mean of the last {stamp['averaged_evaluations']} evaluation(s); "
        f"protocol {stamp['hash']}"
    )
    return "\n".join(lines)
