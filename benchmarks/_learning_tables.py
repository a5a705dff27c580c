"""Trials of `learning.py` that have ended, and the tables made of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import _learning as figures
from _learning import Bounds, Curve, compact, duration, interval, shown

STREAM = "stream"  # in place of a task's name
STEPS, SECONDS = 0, 2  # columns of a curve


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Args:
        setting: name of what it was run with.
        task: that it learned alone, or `stream`.
        seed: of the run.
        curves: by task, the evaluations while it trained.
        final: by task, success at the end.
        performance: P.
        forgetting: F.
        updates: of all tasks.
        cpu_seconds: without evaluations and start-up.
        wall_seconds: with evaluations.
    """

    setting: str
    task: str
    seed: int
    curves: dict[str, Curve]
    final: dict[str, float]
    performance: float | None
    forgetting: float | None
    updates: int
    cpu_seconds: float
    wall_seconds: float

    @property
    def curve(self) -> Curve:
        """Of a task that was learned alone."""
        return next(iter(self.curves.values()))


def read_trial(out: Path, name: str) -> Trial:
    """The trial in a run directory.

    Args:
        out: directory of all trials.
        name: `SETTING/TASK/seedN`.
    """
    path, (setting, task, seed) = out / name, name.split("/")
    evaluations, timing, summary = (
        json.loads((path / f"{file}.json").read_text(encoding="utf-8"))
        for file in ("evaluations", "timing", "summary")
    )
    seconds = timing["cpu_seconds_at_evaluations"]
    names = evaluations["tasks"]
    curves: dict[str, Curve] = {name: [] for name in names}
    rows = zip(evaluations["trained"], evaluations["task_steps"], evaluations["success"], seconds)
    for trained, steps, success, spent in rows:
        if steps:  # that before any training is no part of how long it takes
            curves[names[trained]].append((steps, success[trained], spent))
    return Trial(
        setting=setting,
        task=task,
        seed=int(seed.removeprefix("seed")),
        curves=curves,
        final=dict(zip(names, evaluations["success"][-1])),
        performance=summary["performance"],
        forgetting=summary["forgetting"],
        updates=int(sum(facts.get("updates", 0) for facts in summary["task_facts"].values())),
        cpu_seconds=timing["cpu_seconds"],
        wall_seconds=timing["wall_seconds"],
    )


def outcome(trial: Trial, end_counts: bool) -> str:
    """How a trial ended, in a line."""
    name = f"{trial.setting} {trial.task} seed {trial.seed}"
    spent = f"CPU {trial.cpu_seconds:.1f} s, wall {trial.wall_seconds:.1f} s"
    if trial.task == STREAM:
        success = ", ".join(f"{task} {_number(value)}" for task, value in trial.final.items())
        p, f = _number(trial.performance), _number(trial.forgetting)
        return f"{name}: {success}; P {p}, F {f}; {spent}"
    steps, seconds = (duration(trial.curve, column, end_counts) for column in (STEPS, SECONDS))
    word = "learned after" if math.isfinite(steps.high) else "not learned within"
    until = f"{word} {steps.low:,} steps, {seconds.low:.1f} CPU s"
    return f"{name}: {until}; success {trial.curve[-1][1]:.2f} at the end; {spent}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def rows_of(
    trials: Sequence[Trial], settings: Iterable[str], end_counts: bool
) -> list[dict[str, Any]]:
    """What each setting took to learn each task."""
    rows = []
    for task in dict.fromkeys(t.task for t in trials):
        for setting in settings:
            chosen = [t for t in trials if (t.task, t.setting) == (task, setting)]
            if not chosen:
                continue
            steps = [duration(t.curve, STEPS, end_counts) for t in chosen]
            seconds = [duration(t.curve, SECONDS, end_counts) for t in chosen]
            final = [t.curve[-1][1] for t in chosen]
            rows.append(
                {
                    "task": task,
                    "setting": setting,
                    "seeds": len(chosen),
                    "learned": sum(math.isfinite(s.high) for s in steps),
                    "steps": [figures.median(steps), *interval(steps)],
                    "cpu_seconds": [figures.median(seconds), *interval(seconds)],
                    "final_mean": fmean(final),
                    "final_min": min(final),
                    "cpu_ms_per_update": median(map(_per_update, chosen)),
                }
            )
    return rows


def _per_update(trial: Trial) -> float:
    return 1e3 * trial.cpu_seconds / trial.updates if trial.updates else math.inf


def ratios_of(
    trials: Sequence[Trial], settings: Iterable[str], end_counts: bool
) -> list[dict[str, Any]]:
    """CPU seconds until learned: the first setting's over each other one's, paired by seed."""

    def seconds(trial: Trial) -> Bounds:
        return duration(trial.curve, SECONDS, end_counts)

    reference, *others = settings
    references = {(t.task, t.seed): seconds(t) for t in trials if t.setting == reference}
    rows = []
    for task in dict.fromkeys(t.task for t in trials):
        for other in others:
            by_seed = {
                t.seed: figures.ratio(references[task, t.seed], seconds(t))
                for t in trials
                if (t.task, t.setting) == (task, other) and (task, t.seed) in references
            }
            if by_seed:
                row = {"task": task, "numerator": reference, "denominator": other}
                row["median"] = figures.median(list(by_seed.values()))
                row["minimum"] = figures.minimum(list(by_seed.values()))
                rows.append({**row, "by_seed": by_seed})
    return rows


def print_report(
    trials: Sequence[Trial], settings: Sequence[str], end_counts: bool, curves: bool
) -> dict[str, list[dict[str, Any]]]:
    """Prints all tables; returns the rows of the two of single tasks."""
    alone = [t for t in trials if t.task != STREAM]
    rows = rows_of(alone, settings, end_counts)
    ratios = ratios_of(alone, settings, end_counts)
    if curves:
        print("\nsuccess at environment steps")
        _print_table(
            [
                (t.setting, task, f"seed {t.seed}", compact(curve))
                for t in trials
                for task, curve in t.curves.items()
            ],
            left=4,
        )
    if rows:
        print("\nuntil learned, median [95 %]; success at the end, mean and least")
        heads = ("task", "setting", "learned", "steps", "CPU s", "mean", "least", "CPU ms/update")
        _print_table([heads, *map(_cells, rows)], left=2)
    if ratios:
        print(f"\nCPU seconds until learned, {settings[0]} / other (above 1: the other is faster)")
        heads = ("task", "other", "seeds", "median", "minimum")
        _print_table([heads, *map(_ratio_cells, ratios)], left=2)
    streams = [t for t in trials if t.task == STREAM]
    if streams:
        print("\nstreams, success at the end")
        print("\n".join(outcome(t, end_counts) for t in streams))
    return {"tasks": rows, "ratios": ratios}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["task"],
        row["setting"],
        f"{row['learned']} of {row['seeds']}",
        _with_interval(row["steps"], ",.0f", row["seeds"]),
        _with_interval(row["cpu_seconds"], ".1f", row["seeds"]),
        f"{row['final_mean']:.2f}",
        f"{row['final_min']:.2f}",
        f"{row['cpu_ms_per_update']:.2f}",
    )


def _with_interval(bounds: Sequence[Bounds], form: str, seeds: int) -> str:
    middle, low, high = (shown(one, form) for one in bounds)
    return middle if seeds == 1 else f"{middle} [{low}; {high}]"


def _ratio_cells(row: dict[str, Any]) -> tuple[str, ...]:
    ratios = (shown(row[name], ".2f") for name in ("median", "minimum"))
    return (row["task"], row["denominator"], str(len(row["by_seed"])), *ratios)


def _print_table(lines: Sequence[Sequence[str]], left: int) -> None:
    """Prints columns, the first ones aligned left."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        cells = [f"{c:{'<' if i < left else '>'}{widths[i]}}" for i, c in enumerate(line)]
        print("  ".join(cells).rstrip())


def write_json(path: Path, found: dict[str, Any]) -> None:
    """Writes a mapping, its lists with an entry per line; an infinite bound is null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and math.isinf(value) else value

    parts = []
    for key, value in finite(found).items():
        entries = value if isinstance(value, list) else None
        lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries or ())
        parts.append(f" {json.dumps(key)}: " + (json.dumps(value) if not lines else f"[\n{lines}]"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
