"""The figure of training's own returns: how fast tasks are learned."""

from __future__ import annotations

import numpy as np

from cotasp.report.charts import Chart, Figure, Series, drawn
from cotasp.report.statistics import estimate, mean
from cotasp.report.study import Study, Variant


def training_returns(study: Study) -> Figure | None:
    """Returns of the episodes that training made: along the stream, and by task; None: the runs
    keep none.
    """
    chosen = [v for v in drawn(study) if _returns(v) is not None]
    if not chosen:
        return None
    charts = [Chart("along the stream", "million steps", "return", [_curve(v) for v in chosen])]
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
    found = [kept.training_return for kept in variant.kept]
    there = [r for r in found if r is not None and r.ndim == 2 and r.size]
    there = [r for r in there if r.shape == there[0].shape]
    if not there or np.isnan(there).all():
        return None
    return np.array(there)


def _curve(variant: Variant) -> Series:
    returns = _returns(variant)
    assert returns is not None
    _, tasks, spans = returns.shape
    x, found = [], []
    for task in range(tasks):
        for span in range(spans):
            values = returns[:, task, span : span + 1]
            if not np.isnan(values).all():
                x.append((task + (span + 1) / spans) * variant.budget)
                found.append(estimate(values, mean, 500))
    return _series(variant.name, x, found)


def _by_number(variant: Variant, metric: str) -> Series:
    scores = variant.scores(metric)
    found = [estimate(scores[:, i : i + 1], mean) for i in range(scores.shape[1])]
    return _series(variant.name, list(range(len(found))), found)


def _series(name: str, x: list, found: list) -> Series:
    return Series(
        name, x, [f.value for f in found], [f.low for f in found], [f.high for f in found]
    )
