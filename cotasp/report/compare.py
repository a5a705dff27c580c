"""Two variants side by side, with words only where the intervals allow them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cotasp.continual.metrics import METRICS
from cotasp.errors import RecipeError
from cotasp.report.cells import metric_cell
from cotasp.report.notes import (
    digits_of,
    metric_notes,
    partial_notes,
    seeds_note,
    stamp_notes,
    transfer_notes,
)
from cotasp.report.results import paired
from cotasp.report.runs import RunSet, read_runs
from cotasp.report.statistics import Estimate, estimate, improvement, mean
from cotasp.report.study import HEADLINE, Study, make_study
from cotasp.report.tables import Cell, Table, interval, number
from cotasp.words import counted

SEEDS = 5  # that a verdict needs
TOO_FEW = "too few seeds to say"
NOT_ALWAYS = "not always reached"


def comparison(first: str | Path, second: str | Path, *, mix_protocols: bool = False) -> Study:
    """The study of two sets of runs, the first as baseline.

    Raises:
        RecipeError: a side holds no run or several recipes, both hold the same, or protocols
            differ.
    """
    run_sets = [read_runs([side]) for side in (first, second)]
    alone = [all(len(run.tasks) == 1 for run in held.runs) for held in run_sets]
    if alone[0] != alone[1] and all(held.runs for held in run_sets):
        raise RecipeError(
            f"compare {first} {second}: one has runs of single tasks, the other of several; "
            f"compare runs of the same tasks"
        )
    for side, held in zip((first, second), run_sets):
        runs = [run for run in held.runs if len(run.tasks) > 1] or held.runs
        recipes = {run.variant for run in runs}
        if len(recipes) != 1:
            what = "no finished run" if not recipes else f"{len(recipes)} recipes"
            more = f" ({held.problems[0]})" if held.problems else ""
            raise RecipeError(f"compare {side}: expected runs of one recipe, found {what}{more}")
    both = RunSet(
        runs=run_sets[0].runs + run_sets[1].runs,
        problems=[p for held in run_sets for p in held.problems],
    )
    study = make_study(both, mix_protocols=mix_protocols)
    if len(study.variants) != 2:
        raise RecipeError(
            f"compare {first} {second}: both hold runs of one recipe; nothing differs but seeds"
        )
    there = {run.path.resolve() for run in run_sets[0].runs}
    (first_name, *_) = [v.name for v in study.variants if v.runs[0].path.resolve() in there]
    return make_study(both, baseline=first_name, mix_protocols=mix_protocols)


def comparison_table(study: Study) -> Table:
    """Each metric of A and B, their difference paired by seed, and a verdict where one is due."""
    a, b = study.variants
    rows = []
    for metric in METRICS:
        digits = digits_of(metric)
        row = [Cell(study.symbol(metric))]
        row += [metric_cell(study, v, metric) for v in (a, b)]
        pair = paired(study, b, a, metric)
        missed = [study.missed(v, metric) for v in (a, b)]
        if pair is None:
            row += [number(None), Cell("-")]
        elif any(bounds is not None and np.nansum(bounds) for bounds in missed):
            # bounds have no difference
            word = TOO_FEW if len(pair[0]) < SEEDS else NOT_ALWAYS
            row += [number(None), Cell(word if metric in HEADLINE else "-")]
        else:
            change = estimate(pair[0] - pair[1], mean)
            word = verdict(change, metric, len(pair[0])) if metric in HEADLINE else "-"
            row += [interval(change, digits), Cell(word)]
        rows.append(tuple(row))
    pair = paired(study, b, a, "performance")
    probability = Estimate(None) if pair is None else improvement(*pair)
    count = 0 if pair is None else len(pair[0])
    word = verdict(probability, "performance", count, even=0.5)
    dash = Cell("-")
    rows.append((Cell("P(better)"), dash, dash, interval(probability), Cell(word)))
    return Table(
        "comparison",
        f"B against A: {counted(count, 'seed')} in common",
        ("metric", f"A: {a.name}", f"B: {b.name}", "B - A, paired", "verdict"),
        tuple(rows),
        (
            f"A verdict needs {SEEDS} common seeds and an interval that excludes no change; it is "
            f"given for few metrics, because of many some differ by chance.",
            "Where something was not always reached, what stands behind ≥ is a lower bound, and no "
            "difference is given.",
            "P(better): probability that p_i(end) is higher with B than with A at the same seed.",
            seeds_note(study),
            *partial_notes(study, METRICS),
            *transfer_notes(study),
            *metric_notes(study, METRICS),
            *stamp_notes(study),
        ),
    )


def verdict(change: Estimate, metric: str, seeds: int, even: float = 0.0) -> str:
    """What may be said of a change.

    >>> verdict(Estimate(0.2, 0.1, 0.3), "performance", 5)
    'B is better'
    >>> verdict(Estimate(0.2, 0.1, 0.3), "forgetting", 5)
    'B is worse'
    >>> verdict(Estimate(0.2, -0.1, 0.3), "performance", 5)
    'no difference shown'
    >>> verdict(Estimate(0.2, 0.1, 0.3), "performance", 3)
    'too few seeds to say'
    """
    if change.value is None:
        return "-"
    if seeds < SEEDS:
        return TOO_FEW
    if not change.excludes(even):
        return "no difference shown"
    return (
        "B is better" if (change.value > even) == METRICS[metric].higher_is_better else "B is worse"
    )
