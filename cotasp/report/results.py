"""What a study's tables say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cotasp.continual.metrics import METRICS
from cotasp.report.cells import marked, metric_cell, scores_cell
from cotasp.report.notes import (
    digits_of,
    metric_notes,
    partial_notes,
    seeds_note,
    stamp_notes,
    transfer_notes,
)
from cotasp.report.runs import Run
from cotasp.report.statistics import Estimate, estimate, improvement, interquartile_mean, mean
from cotasp.report.study import HEADLINE, Study, Variant
from cotasp.report.tables import NOT_REACHED, Cell, Table, interval, number


def difference_table(study: Study) -> Table:
    """In what the recipes differ."""
    paths = list(study.differences)
    rows = tuple(
        (Cell(v.name), *(Cell(study.differences[path][i]) for path in paths))
        for i, v in enumerate(study.variants)
    )
    caption = "What differs between the recipes" if paths else "The finished runs have one recipe"
    return Table(
        "recipes", caption, ("variant", *paths), rows, ("All else is the same in all of them.",)
    )


def result_table(study: Study) -> Table:
    """P, F, FT and G with intervals, and the probability of improvement over the baseline."""
    columns = ["variant", "seeds"]
    for metric in HEADLINE:
        columns += [study.symbol(metric), f"{study.symbol(metric)} IQM"]
    columns.append("reached")
    columns[3:3] = ["P(better)"] * study.baseline
    rows = []
    for variant in study.variants:
        row = [Cell(variant.name), number(len(variant.runs), 0)]
        for metric in HEADLINE:
            for statistic in (mean, interquartile_mean):
                row.append(metric_cell(study, variant, metric, statistic))
        reached = estimate(study.scores(variant, "reached"), mean).value
        row.append(Cell("-" if reached is None else f"{reached:.0%}", reached, (reached,)))
        if study.baseline:
            row.insert(3, _better(study, variant))
        rows.append(tuple(row))
    notes = [seeds_note(study), *partial_notes(study, HEADLINE), *transfer_notes(study)]
    notes += metric_notes(study, HEADLINE)
    notes.append("G is in steps; behind ≥ it is a lower bound, because some tasks never got there.")
    if study.baseline:
        notes.append(
            f"P(better): probability that p_i(end) is higher than with the baseline, "
            f"{study.variants[0].name}, at the same seed; ties count half."
        )
    return Table(
        "results",
        "Results, mean over tasks and seeds",
        tuple(columns),
        tuple(rows),
        (*notes, *stamp_notes(study)),
    )


def paired(
    study: Study, ours: Variant, theirs: Variant, metric: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Two variants' scores at the seeds that both have, or None where they cannot be paired."""
    if metric == "forward_transfer" and ours.against != theirs.against:
        return None
    common = sorted(set(ours.seeds) & set(theirs.seeds))
    if not common or ours.tasks != theirs.tasks or ours.stamp["hash"] != theirs.stamp["hash"]:
        return None
    return study.scores(ours, metric, common), study.scores(theirs, metric, common)


def _better(study: Study, variant: Variant) -> Cell:
    baseline = study.variants[0]
    pair = None if variant is baseline else paired(study, variant, baseline, "performance")
    return number(None) if pair is None else interval(improvement(*pair))


def _bounds(study: Study, variant: Variant, metric: str) -> list[Cell]:
    """Mean, low, high, interquartile mean, and the fraction that was not reached."""
    scores, missed = study.scores(variant, metric), study.missed(variant, metric)
    average, digits = estimate(scores, mean), digits_of(metric)
    values = (*average, estimate(scores, interquartile_mean, 1).value)  # without interval
    cells = [marked(study, variant, metric, number(value, digits)) for value in values]
    if missed is None or not missed.any() or average.value is None:
        return [*cells, number(None if missed is None or average.value is None else 0.0)]
    fraction = float(missed.mean())
    if fraction == 1.0:
        cells = [Cell(NOT_REACHED, math.inf, (None,)), *[number(None)] * 3]
    else:
        cells = [c if c.value is None else replace(c, text=f"≥ {c.text}") for c in cells]
        cells[0] = replace(cells[0], value=math.inf)
    return [*cells, number(fraction)]


def metric_table(study: Study) -> Table:
    """Every metric there is, one a row, with bounds as numbers of their own."""
    rows = []
    for metric, entry in METRICS.items():
        for variant in study.variants:
            rows.append(
                (
                    Cell(study.symbol(metric)),
                    Cell(variant.name),
                    *_bounds(study, variant, metric),
                    Cell(entry.unit),
                    Cell("higher" if entry.higher_is_better else "lower"),
                )
            )
    return Table(
        "metrics",
        "Every metric, mean over tasks and seeds",
        ("metric", "variant", "mean", "low", "high", "IQM", NOT_REACHED, "unit", "better"),
        tuple(rows),
        (
            "low, high: ends of the interval of the mean; not reached: fraction of seeds and "
            "tasks that never got there, of metrics that count until something is reached: they "
            "count with the whole budget, and what stands behind ≥ is a lower bound.",
            seeds_note(study),
            *partial_notes(study, METRICS),
            *transfer_notes(study),
            *metric_notes(study, METRICS),
            *stamp_notes(study),
        ),
    )


TASK_METRICS = ("zero_shot", "plasticity", "performance", "forgetting", "steps_to_threshold")
TASK_COLUMNS = ("from text", "trained", "at end", "forgotten")


def task_table(study: Study) -> Table:
    """Success and steps to the threshold, task by task."""
    thresholds = [stamp.get("threshold", 0.9) for stamp in study.protocols.values()]
    several = len({*thresholds}) > 1  # of mixed protocols, each row's stands in it
    steps = study.symbol(TASK_METRICS[-1])
    rows = []
    for variant in study.variants:
        columns = {m: (variant.scores(m), variant.unreached(m)) for m in TASK_METRICS}
        for i, task in enumerate(variant.tasks):
            row = [Cell(variant.name), Cell(task, i)]
            for metric in TASK_METRICS:
                scores, missed = columns[metric]
                missed = None if missed is None else missed[:, i : i + 1]
                row.append(scores_cell(metric, scores[:, i : i + 1], missed))
            known = variant.scores("reached")[:, i]
            known = known[~np.isnan(known)]  # none of tasks that are learned together
            reached, count = int(known.sum()), len(known)
            told = (
                Cell(f"{reached} of {count}", reached, (reached / count,))
                if count
                else number(None)
            )
            row.append(told)
            if several:
                row.insert(-2, number(variant.stamp.get("threshold", 0.9)))
            rows.append(tuple(row))
    return Table(
        "tasks",
        "Task by task, mean over seeds",
        (
            "variant",
            "task",
            *TASK_COLUMNS,
            *(["threshold", steps] if several else [f"{steps} to {thresholds[0]:g}"]),
            "reached",
        ),
        tuple(rows),
        (
            "from text: p_i just before its own training, by the policy that it begins with, "
            "where the run was evaluated so (evaluation.schedule=full); "
            "trained: p_i at the end of its own training; at end: p_i when the stream has ended; "
            "forgotten: the difference of the last two.",
            seeds_note(study),
            *metric_notes(study, TASK_METRICS[-1:]),
            *stamp_notes(study),
        ),
    )


def task_fact(run: Run, task: str, name: str) -> float:
    """A fact of a task, mean over layers, or NaN: `change`, `recall`, `owned`, `active` ..."""
    facts = run.summary.get("task_facts", {}).get(task, {})
    values = [
        float(value)
        for key, value in facts.items()
        if isinstance(value, (int, float)) and name in key.split("/")
    ]
    return sum(values) / len(values) if values else math.nan


DICTIONARY = {
    "active": "fraction of neurons at the task's beginning",
    "owned": "fraction that finished tasks use",
    "change": "relative change of the atoms at the task's end",
    "recall": "Jaccard of the masks that texts alone give back with those trained, mean of tasks",
    "recall_min": "the same, worst task",
    "unused": "fraction of atoms that no task has used",
}


def fact_scores(variant: Variant, name: str) -> np.ndarray:
    """A fact of each seed and task, [seeds, tasks]."""
    return np.array([[task_fact(run, t, name) for t in run.tasks] for run in variant.runs])


def dictionary_table(study: Study) -> Table:
    """Neurons and dictionaries after each task."""
    rows = []
    for variant in study.variants:
        facts = {name: fact_scores(variant, name) for name in DICTIONARY}
        for i, task in enumerate(variant.tasks):
            row = [Cell(variant.name), Cell(task, i)]
            for values in facts.values():
                row.append(interval(estimate(values[:, i : i + 1], mean), 3))
            rows.append(tuple(row))
    return Table(
        "dictionaries",
        "Neurons and dictionaries after each task, mean over layers and seeds",
        ("variant", "task", *DICTIONARY),
        tuple(rows),
        (
            "; ".join(f"{name}: {what}" for name, what in DICTIONARY.items()) + ".",
            seeds_note(study),
            *stamp_notes(study),
        ),
    )


def updates(run: Run) -> float:
    """Updates of the whole run, with those of distillation, or NaN.  Tasks that are learned
    together tell them once, and those that are recalled have none.
    """
    names = ("updates", "distillation_updates")
    told = [task_fact(run, task, name) for task in run.tasks for name in names]
    known = [value for value in told if not math.isnan(value)]
    return float(sum(known)) if known else math.nan


def cost_table(study: Study) -> Table:
    """Sizes, updates, time and memory."""
    rows = []
    for variant in study.variants:
        runs = variant.runs
        wall = [run.cost.get("wall_seconds", math.nan) for run in runs]
        measured = (
            ([_capacity(run) for run in runs], 3),
            ([_size(run, "weights") for run in runs], 0),
            ([_size(run, "active_weights") for run in runs], 0),
            ([_size(run, "kept_bytes") / 2**20 for run in runs], 2),
            ([updates(run) for run in runs], 0),
            (wall, 0),
            ([updates(r) / w if w else math.nan for r, w in zip(runs, wall)], 1),
            ([run.cost.get("peak_memory_bytes", math.nan) / 2**30 for run in runs], 2),
        )
        rows.append((Cell(variant.name), *(_spread(*values) for values in measured)))
    return Table(
        "cost",
        "Sizes, updates, time and memory, per run",
        (
            "variant",
            "capacity used",
            "weights",
            "active weights",
            "kept, MiB",
            "updates",
            "wall time, s",
            "updates/s",
            "peak memory, GiB",
        ),
        tuple(rows),
        (
            "Mean over seeds, least to most in brackets.",
            "capacity used: fraction of neurons that some task owns at the end, mean of layers; "
            "weights: of the actor; active weights: that a task's policy reads, mean of tasks; "
            "kept: what the method holds beside the actor: anchors and importances, rows of "
            "finished tasks, multipliers, copies; updates: with those after a task's last step; "
            "updates/s: over the whole run, environment and evaluation included; times are of "
            "the machine that ran it, and of all that ran beside it.",
            *stamp_notes(study),
        ),
    )


def _size(run: Run, name: str) -> float:
    value = run.summary.get(name)
    return math.nan if value is None else float(value)


def _capacity(run: Run) -> float:
    layers: Sequence[float] = run.summary.get("capacity_used") or [math.nan]
    return float(np.mean(layers))


def _spread(values: Sequence[float], digits: int) -> Cell:
    numbers = [v for v in values if not math.isnan(v)]
    if not numbers:
        return number(None)
    ends = (min(numbers), max(numbers)) if len(numbers) > 1 else (None, None)
    return interval(Estimate(sum(numbers) / len(numbers), *ends), digits)
