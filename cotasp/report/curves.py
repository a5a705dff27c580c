"""Figures of values along the stream: success and returns, as evaluated and as trained on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cotasp.report.charts import (
    Chart,
    Figure,
    Series,
    chart_variants,
    omission_note,
    with_intervals,
)
from cotasp.report.runs import Run
from cotasp.report.statistics import estimate, mean
from cotasp.report.study import Study, Variant

POINTS = 120  # of one curve


def success_curves(study: Study) -> Figure:
    """Success of each task along the stream, by evaluations."""
    text = (
        "Mean over seeds; the shaded span is the task's own training, bands are 95 % intervals. "
        "Where a task was not evaluated its curve has no point; the first point of its training is "
        "of its policy before any."
    )
    title = "Success of each task along the stream"
    return Figure("success", title, text + omission_note(study), _by_task(study, "success", (0, 1)))


def return_curves(study: Study) -> Figure:
    """Return of each task along the stream, by evaluations."""
    text = "Undiscounted return of the same evaluations, drawn likewise."
    title = "Return of each task along the stream"
    return Figure("returns", title, text + omission_note(study), _by_task(study, "episode_return"))


def _by_task(study: Study, key: str, y_range: tuple[float, float] | None = None) -> list[Chart]:
    """A chart for each task, of what summaries hold under a key."""
    chosen = chart_variants(study)
    charts = []
    for task in dict.fromkeys(task for v in chosen for task in v.tasks):
        series, bands = [], []
        for variant in chosen:
            if task in variant.tasks:
                index, budget = variant.tasks.index(task), variant.budget
                first = int(variant.kept[0].lesson[index])
                size = int((variant.kept[0].lesson == first).sum())
                bands = [(first * budget, (first + size) * budget)]
                series.append(_evaluated(variant, index, key))
        label = "success" if key == "success" else "return"
        chart = Chart(task, "steps", label, series, y_range=y_range, bands=bands)
        if any(value is not None for one in series for value in one.y):
            charts.append(in_units(chart))
    return charts


def _evaluated(variant: Variant, index: int, key: str) -> Series:
    """A task's values over the stream, mean over seeds."""
    first = variant.runs[0]
    runs = [r for r in variant.runs if _times(r) == _times(first) and r.summary.get(key)]
    rows = [[math.nan if v is None else v for v in r.summary[key][index]] for r in runs]
    x = np.array(_times(first), dtype=np.float64)
    values = np.array(rows, dtype=np.float64).reshape(len(runs), len(x))
    there = ~np.isnan(values).all(0)
    x, values = x[there], values[:, there]
    step = max(1, math.ceil(len(x) / POINTS))
    points = sorted({*range(0, len(x), step), *([len(x) - 1] if len(x) else [])})
    estimates = [estimate(values[:, i : i + 1], mean, 1000) for i in points]
    return with_intervals(variant.name, [float(x[i]) for i in points], estimates)


def _times(run: Run) -> list[int]:
    """Steps of the whole stream at each evaluation."""
    budget = run.stamp.get("steps_per_task", 0)
    evaluations = run.summary["evaluations"]
    pairs = zip(evaluations["trained"], evaluations["task_steps"])
    return [trained * budget + steps for trained, steps in pairs]


def in_units(chart: Chart) -> Chart:
    """The chart of steps with its x axis in a unit that leaves few digits."""
    most = max((x for one in chart.series for x in one.x), default=0.0)
    size, name = next(
        (
            pair
            for pair in ((1e6, "million steps"), (1e3, "thousand steps"))
            if most >= 10 * pair[0]
        ),
        (1.0, "steps"),
    )
    return replace(
        chart,
        x_label=name,
        series=[replace(one, x=[x / size for x in one.x]) for one in chart.series],
        bands=[(left / size, right / size) for left, right in chart.bands],
    )


def training_returns(study: Study) -> Figure:
    """Returns of the episodes that training made: along the stream, and by task."""
    chosen = [v for v in chart_variants(study) if _returns(v) is not None]
    charts = []
    if chosen:
        curves = [_trained_on(variant) for variant in chosen]
        charts.append(in_units(Chart("along the stream", "steps", "return", curves)))
    for metric, label in (("training_return", "return"), ("episodes_to_return", "episodes")):
        series = [_by_number(variant, metric) for variant in chosen]
        series = [one for one in series if any(value is not None for value in one.y)]
        if series:
            title = f"{study.symbol(metric)}, by number of the task"
            numbers = [str(i + 1) for i in range(max(len(v.tasks) for v in chosen))]
            charts.append(Chart(title, "tasks seen, this one included", label, series, numbers))
    text = (
        "Mean undiscounted return of the episodes that training itself made, by the policy that "
        "explores; mean over seeds, bands are 95 % intervals. A: mean of a task's whole training; "
        "E: episodes until evaluation.return_threshold, where one is set. A method that prepares "
        "for tasks to come has an A that rises and an E that falls."
    )
    return Figure("training", "Returns while tasks are learned", text, charts)


def _returns(variant: Variant) -> np.ndarray | None:
    """[seeds, T, spans] of the runs that have as many spans as the first; None: it has none."""
    returns = [kept.training_return for kept in variant.kept]
    there = [r for r in returns if r is not None and r.ndim == 2 and r.size]
    there = [r for r in there if r.shape == there[0].shape]
    if not there or np.isnan(there).all():
        return None
    return np.array(there)


def _trained_on(variant: Variant) -> Series:
    returns = _returns(variant)
    assert returns is not None
    _, tasks, spans = returns.shape
    x, estimates = [], []
    for task in range(tasks):
        for span in range(spans):
            values = returns[:, task, span : span + 1]
            if not np.isnan(values).all():
                x.append((task + (span + 1) / spans) * variant.budget)
                estimates.append(estimate(values, mean, 500))
    return with_intervals(variant.name, x, estimates)


def _by_number(variant: Variant, metric: str) -> Series:
    scores = variant.scores(metric)
    estimates = [estimate(scores[:, i : i + 1], mean) for i in range(scores.shape[1])]
    return with_intervals(variant.name, list(range(len(estimates))), estimates)
