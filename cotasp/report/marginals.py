"""Each axis of a factorial study by itself: means over the other axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cotasp.report.axes import factorial
from cotasp.report.cells import scores_cell
from cotasp.report.notes import metric_notes, stamp_notes, transfer_notes
from cotasp.report.statistics import Scores, estimate, mean
from cotasp.report.study import HEADLINE, Study, Variant
from cotasp.report.tables import Cell, Table, number


def marginal_table(study: Study) -> Table | None:
    """P, F, FT and G of each value of each axis, mean over the others; None: no such study."""
    same = {(tuple(v.tasks), v.stamp["hash"]) for v in study.variants}
    if not factorial(study.axes, len(study.variants)) or len(same) > 1:
        return None
    seeds = sorted(set.intersection(*(set(v.seeds) for v in study.variants)))
    if not seeds:
        return None
    rows = []
    for axis, values in study.axes.items():
        for value in dict.fromkeys(values):
            chosen = [v for v, its in zip(study.variants, values) if its == value]
            row = [Cell(axis), Cell(value), number(len(chosen), 0)]
            for metric in HEADLINE:
                row.append(scores_cell(metric, *_pooled(study, chosen, metric, seeds)))
            reached = estimate(_pooled(study, chosen, "reached", seeds)[0], mean).value
            row.append(Cell("-" if reached is None else f"{reached:.0%}", reached, (reached,)))
            rows.append(tuple(row))
    columns = ("axis", "value", "variants", *map(study.symbol, HEADLINE), "reached")
    notes = (
        f"Each value of an axis: mean over the variants that have it, tasks, and the seeds that "
        f"all variants have ({', '.join(map(str, seeds))}). Every combination of values was run, "
        f"so that values of one axis are compared under the same conditions; a metric that some "
        f"variant has no value of is left out.",
        *transfer_notes(study),
        *metric_notes(study, HEADLINE),
        *stamp_notes(study),
    )
    return Table("axes", "Axis by axis, mean over the others", columns, tuple(rows), notes)


def _pooled(
    study: Study, variants: Sequence[Variant], metric: str, seeds: Sequence[int]
) -> tuple[Scores, Scores | None]:
    """Scores and what of them is a lower bound, [seeds, variants x tasks].

    There are none, [seeds, 0], where a variant of the study lacks the metric, or has forward
    transfer against other single-task runs: means over what differs are not compared.
    """
    unequal = metric == "forward_transfer" and len(study.marks) > 1
    lacking = unequal or any(
        np.isnan(study.scores(each, metric, seeds)).any() for each in study.variants
    )
    count = 0 if lacking else None
    scores = [study.scores(variant, metric, seeds)[:, :count] for variant in variants]
    missed = [study.missed(variant, metric, seeds) for variant in variants]
    known = [each[:, :count] for each in missed if each is not None]
    return np.concatenate(scores, 1), np.concatenate(known, 1) if known else None
