"""What stands below a table: protocol, formulas, seeds; and how many decimals stand in it."""

from __future__ import annotations

from collections.abc import Iterable

from cotasp.continual.metrics import METRICS
from cotasp.report.statistics import CONFIDENCE, REPETITIONS
from cotasp.report.study import Study


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
    """Formulas, where runs recorded another one, and how intervals are made."""
    chosen = list(metrics)
    notes = [f"{METRICS[metric].formula}." for metric in chosen]
    notes += [
        f"{study.symbol(metric)}: computed here for all runs by the formula above; the summaries "
        f"of some have another number, by: {'; '.join(study.changed[metric])}."
        for metric in chosen
        if metric in study.changed
    ]
    notes.append(
        f"[ ]: {CONFIDENCE:.0%} interval, bootstrap over whole seeds ({REPETITIONS:,} resamples), "
        f"because the tasks of a run share one network; IQM: interquartile mean over seeds and "
        f"tasks (arXiv 2108.13264)."
    )
    return notes


def transfer_notes(study: Study) -> list[str]:
    """What forward transfer is measured against; each mark stands for another answer."""
    notes = []
    for against, mark in study.marks.items():
        note = f"FT{mark} against {against}, taken as exact: their spread is in no interval"
        if len(study.marks) > 1:
            note += f"; it is that of {'; '.join(rows_against(study, against))}"
        if mark:
            note += ", and not to be compared with FT of another mark"
        notes.append(f"{note}.")
    return notes


def rows_against(study: Study, against: str) -> list[str]:
    """Names of the variants whose forward transfer is against something."""
    return [variant.name for variant in study.variants if variant.against == against]


def partial_notes(study: Study, names: Iterable[str]) -> list[str]:
    """Which of the metrics shown are means over fewer tasks than there are."""
    names = set(names)
    notes = []
    for tasks, metrics in study.complete.items():
        for metric, there in metrics.items():
            first = METRICS[metric].first
            absent = [task for task, present in zip(tasks[first:], there[first:]) if not present]
            count = len(tasks) - first
            if absent and metric in names:
                why = ", or AUC^b = 1," if metric == "forward_transfer" else ""
                notes.append(
                    f"{METRICS[metric].symbol} over {count - len(absent)} of {count} tasks: "
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
        note = "seeds: " + "; ".join(f"{v.name} {len(v.runs)}" for v in study.variants)
    few = min(len(v.runs) for v in study.variants)
    return note + ("; intervals of fewer than five seeds are too narrow." if 1 < few < 5 else ".")


def digits_of(metric: str) -> int:
    """Decimals that a metric is shown with."""
    return {"rate": 2, "steps": 0, "return": 1, "episodes": 0}[METRICS[metric].unit]
