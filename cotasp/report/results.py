"""What a study's tables say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cotasp.continual.metrics import FORMULAS
from cotasp.report.runs import Run
from cotasp.report.statistics import (
    CONFIDENCE,
    REPETITIONS,
    Estimate,
    estimate,
    improvement,
    interquartile_mean,
    mean,
)
from cotasp.report.study import METRICS, SYMBOLS, Study, Variant
from cotasp.report.tables import Cell, Table, interval, number


def stamp_notes(study: Study) -> list[str]:
    """The protocol of a table: hash and what it stands for."""
    notes = []
    for key, stamp in study.protocols.items():
        rule = (
            f"{stamp.get('environment')}, {stamp.get('steps_per_task', 0):,} steps per task, "
            f"success at the {stamp.get('success_rule')}, {stamp.get('evaluation_mode')}, "
            f"{stamp.get('episodes')} episodes, mean of the last "
            f"{stamp.get('averaged_evaluations')} evaluation(s)"
        )
        notes.append(f"Protocol {key}: {rule}.")
    if study.mixed:
        notes.insert(0, "PROTOCOLS ARE MIXED: rows of different stamps cannot be compared.")
    return notes


def metric_notes(study: Study, metrics: Iterable[str]) -> list[str]:
    """Formulas, as the runs' stamp has them, and how intervals are made."""
    formulas: Mapping[str, str] = next(iter(study.protocols.values())).get("formulas", FORMULAS)
    notes = [f"{formulas.get(metric, FORMULAS[metric])}." for metric in metrics]
    notes.append(
        f"[ ]: {CONFIDENCE:.0%} interval, bootstrap over whole seeds ({REPETITIONS:,} resamples), "
        f"because the tasks of a run share one network; IQM: interquartile mean over seeds and "
        f"tasks (arXiv 2108.13264)."
    )
    return notes


def partial_notes(study: Study) -> list[str]:
    """Which metrics are means over fewer tasks than there are."""
    notes = []
    for tasks, metrics in study.complete.items():
        for metric, there in metrics.items():
            absent = [task for task, kept in zip(tasks, there) if not kept]
            if absent and metric in SYMBOLS:
                why = ", or AUC^b = 1," if metric == "forward_transfer" else ""
                notes.append(
                    f"{SYMBOLS[metric]} over {len(tasks) - len(absent)} of {len(tasks)} tasks: "
                    f"a seed of some variant has no value{why} of {', '.join(absent)}."
                )
    return notes


def seeds_note(study: Study) -> str:
    """Seeds of each variant, written once where all have as many."""
    counts = {len(v.runs) for v in study.variants}
    if len(counts) == 1:
        count = counts.pop()
        note = f"{count} seed{'s' if count > 1 else ''} of each variant"
    else:
        note = "seeds: " + ", ".join(f"{v.name} {len(v.runs)}" for v in study.variants)
    few = min(len(v.runs) for v in study.variants)
    return note + ("; intervals of fewer than five seeds are too narrow." if 1 < few < 5 else ".")


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


def digits_of(metric: str, study: Study) -> int:
    """Decimals that a metric is shown with; steps get three digits of the budget."""
    if metric != METRICS[3]:
        return 2
    budget = min(v.budget for v in study.variants)
    return 3 if not 0 < budget < 1 else 2 - math.floor(math.log10(budget))


def result_table(study: Study) -> Table:
    """P, F, FT and G with intervals, and the probability of improvement over the baseline."""
    columns = ["variant", "seeds"]
    for metric in METRICS:
        columns += [SYMBOLS[metric], f"{SYMBOLS[metric]} IQM"]
    columns.append("reached")
    columns[3:3] = ["P(better)"] * study.baseline
    rows = []
    for variant in study.variants:
        row = [Cell(variant.name), number(len(variant.runs), 0)]
        for metric in METRICS:
            scores, digits = study.scores(variant, metric), digits_of(metric, study)
            for statistic in (mean, interquartile_mean):
                row.append(interval(estimate(scores, statistic), digits))
        row.append(Cell(f"{variant.reached():.0%}", variant.reached()))
        if study.baseline:
            row.insert(3, _better(study, variant))
        rows.append(tuple(row))
    notes = [seeds_note(study), *partial_notes(study), *metric_notes(study, METRICS)]
    notes.append(
        "G here: the mean over tasks, in millions of steps; a task that never gets there counts "
        "with its whole budget, so G is a lower bound where `reached` is below 100%."
    )
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
    common = sorted(set(ours.seeds) & set(theirs.seeds))
    if not common or ours.tasks != theirs.tasks or ours.stamp["hash"] != theirs.stamp["hash"]:
        return None
    return study.scores(ours, metric, common), study.scores(theirs, metric, common)


def _better(study: Study, variant: Variant) -> Cell:
    baseline = study.variants[0]
    pair = None if variant is baseline else paired(study, variant, baseline, "performance")
    return number(None) if pair is None else interval(improvement(*pair))


TASK_METRICS = ("untrained", "own", "performance", "forgetting", "steps_to_threshold")
TASK_COLUMNS = ("from text", "trained", "at end", "forgotten")


def task_table(study: Study) -> Table:
    """Success and steps to the threshold, task by task."""
    rows = []
    for variant in study.variants:
        columns = {m: variant.scores(m) for m in TASK_METRICS}
        for i, task in enumerate(variant.tasks):
            row = [Cell(variant.name), Cell(task, i)]
            for metric in TASK_METRICS:
                found = estimate(columns[metric][:, i : i + 1], mean)
                row.append(interval(found, digits_of(metric, study)))
            reached = [r.summary[METRICS[3]][i] is not None for r in variant.runs]
            row.append(Cell(f"{sum(reached)} of {len(reached)}", sum(reached)))
            rows.append(tuple(row))
    threshold = next(iter(study.protocols.values())).get("threshold", 0.9)
    return Table(
        "tasks",
        "Task by task, mean over seeds",
        ("variant", "task", *TASK_COLUMNS, f"G to {threshold:g}", "reached"),
        tuple(rows),
        (
            "from text: p_i just before its own training, by the policy that its text alone "
            "gives, where the run was evaluated so (evaluation.schedule=full); "
            "trained: p_i at the end of its own training; at end: p_i when the stream has ended; "
            "forgotten: the difference of the last two.",
            seeds_note(study),
            *metric_notes(study, [METRICS[3]]),
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
    """Updates of the whole run, or NaN."""
    return float(sum(task_fact(run, task, "updates") for task in run.tasks))


def cost_table(study: Study) -> Table:
    """Capacity, time and memory."""
    rows = []
    for variant in study.variants:
        wall = [run.cost.get("wall_seconds", math.nan) for run in variant.runs]
        rate = [updates(r) / w if w else math.nan for r, w in zip(variant.runs, wall)]
        memory = [run.cost.get("peak_memory_bytes", math.nan) / 2**30 for run in variant.runs]
        capacity = [_capacity(run) for run in variant.runs]
        rows.append(
            (
                Cell(variant.name),
                *(
                    _spread(values, digits)
                    for values, digits in ((capacity, 3), (wall, 0), (rate, 1), (memory, 2))
                ),
            )
        )
    return Table(
        "cost",
        "Capacity, time and memory, per run",
        ("variant", "capacity used", "wall time, s", "updates/s", "peak memory, GiB"),
        tuple(rows),
        (
            "Mean over seeds, least to most in brackets.",
            "capacity used: fraction of neurons that some task owns at the end, mean of layers; "
            "updates/s: over the whole run, environment and evaluation included; times are of "
            "the machine that ran it, and of all that ran beside it.",
            *stamp_notes(study),
        ),
    )


def _capacity(run: Run) -> float:
    layers: Sequence[float] = run.summary.get("capacity_used") or [math.nan]
    return float(np.mean(layers))


def _spread(values: Sequence[float], digits: int) -> Cell:
    found = [v for v in values if not math.isnan(v)]
    if not found:
        return number(None)
    ends = (min(found), max(found)) if len(found) > 1 else (None, None)
    return interval(Estimate(sum(found) / len(found), *ends), digits)


def all_tables(study: Study) -> list[Table]:
    """Every table of a report, in order."""
    made = (difference_table, result_table, task_table, dictionary_table, cost_table)
    return [replace(make(study), missing=study.problems) for make in made]
