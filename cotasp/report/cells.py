"""Cells of metrics: a statistic with its interval, and what was never reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cotasp.report.notes import digits_of
from cotasp.report.statistics import Scores, estimate, mean
from cotasp.report.study import Study, Variant
from cotasp.report.tables import Cell, count_until, interval


def metric_cell(
    study: Study,
    variant: Variant,
    metric: str,
    statistic: Callable[[Scores], Scores] = mean,
) -> Cell:
    """A metric of a variant, over the tasks that all variants have."""
    scores, missed = study.scores(variant, metric), study.missed(variant, metric)
    return marked(study, variant, metric, scores_cell(metric, scores, missed, statistic))


def marked(study: Study, variant: Variant, metric: str, cell: Cell) -> Cell:
    """The cell, marked where its forward transfer is against other runs than the first's."""
    if metric != "forward_transfer" or cell.value is None:
        return cell
    return replace(cell, text=cell.text + study.marks.get(variant.against, ""))


def scores_cell(
    metric: str,
    scores: Scores,
    missed: Scores | None,
    statistic: Callable[[Scores], Scores] = mean,
) -> Cell:
    """A statistic of a metric's scores.

    Args:
        metric: its name.
        scores: [seeds, tasks]; tasks where a seed has no value (NaN) are left out.
        missed: 1.0 where a score is but a lower bound, [seeds, tasks]; None: none is.
        statistic: from [..., seeds, tasks] to [...].
    """
    average, digits = estimate(scores, statistic), digits_of(metric)
    if missed is None:
        return interval(average, digits)
    missed = missed[:, ~np.isnan(scores).any(0)]
    return count_until(average, digits, int(missed.sum()), missed.size)
