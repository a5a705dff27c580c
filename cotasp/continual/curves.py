"""What a run has logged, as curves and as a figure."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cotasp.errors import RecipeError, RunError
from cotasp.registry import suggest
from cotasp.storage.rundir import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = dict[str, list[tuple[int, float]]]  # by task: (environment steps, value)
_GROUP = "evaluation/"  # of names that may be written without it


def read_curves(run: Path, metric: str) -> Curves:
    """Each task's values of a metric, in the order in which they were logged.

    Args:
        run: directory of the run.
        metric: a `name` of `metrics.csv`; `evaluation/` may be left out.

    Raises:
        RecipeError: another name.
        RunError: nothing has been logged yet, or the file is damaged.
    """
    path = run / METRICS
    try:
        with open(path, encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            rows = [
                (row["name"], row["task"], int(row["step"]), float(row["value"])) for row in table
            ]
            columns = table.fieldnames  # None: the file is empty
            if columns is not None and not {"name", "task", "step", "value"} <= set(columns):
                raise ValueError("other columns")
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: damaged, expected step,task,name,value in each row") from error
    if not rows:
        raise RunError(f"{path}: nothing has been logged yet; wait for the first evaluation")
    names = dict.fromkeys(name for name, *_ in rows)
    wanted = metric if metric in names else f"{_GROUP}{metric}"
    if wanted not in names:
        known = [name.removeprefix(_GROUP) for name in names]
        raise RecipeError(f"curve: unknown metric {metric!r}. {suggest(metric, known)}")
    curves: Curves = {}
    for name, task, step, value in rows:
        if name == wanted:
            curves.setdefault(task, []).append((step, value))
    return curves


def draw_curves(curves: Mapping[str, Curves], trained: Mapping[str, tuple[int, int]]) -> Figure:
    """Axes one above the other, a line for each task; what a task trains on is shaded.

    Args:
        curves: by label of the axis.
        trained: by task, in order, the first and the last environment step of its training.

    Raises:
        RecipeError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
        from matplotlib.ticker import StrMethodFormatter
    except ImportError as error:
        raise RecipeError(
            'plot: matplotlib is not installed; pip install "cotasp[report]"'
        ) from error
    figure, axes = pyplot.subplots(
        len(curves),
        1,
        sharex=True,
        squeeze=False,
        figsize=(9, 3 * len(curves)),
        layout="constrained",
    )
    for axis, (label, by_task) in zip(axes[:, 0], curves.items()):
        for place, (task, span) in enumerate(trained.items()):
            colour = f"C{place % 10}"
            axis.axvspan(*span, color=colour, alpha=0.07, lw=0)
            steps, values = zip(*by_task.get(task, [(0, float("nan"))]))
            style = "-" if place < 10 else "--"
            axis.plot(steps, values, style, marker=".", color=colour, label=task)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    bottom = axes[-1, 0]
    bottom.set_xlabel("environment steps, of all tasks")
    bottom.set_xlim(0, max(last for _, last in trained.values()))
    bottom.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure
