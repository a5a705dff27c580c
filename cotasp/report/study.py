"""Runs sorted into what is compared: variants of a recipe, seeds of each, a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotasp.continual.kept import Kept
from cotasp.continual.metrics import METRICS
from cotasp.continual.protocol import changed_formulas, unlike
from cotasp.errors import RecipeError
from cotasp.registry import suggest
from cotasp.report.axes import independent, sweep_axes
from cotasp.report.differences import differences, variant_names, without_shared
from cotasp.report.runs import BEGUN_AFTER, Run, RunSet, Sweep
from cotasp.report.statistics import Scores
from cotasp.words import counted

HEADLINE = ("performance", "forgetting", "forward_transfer", "steps_to_threshold")


@dataclass(frozen=True)
class Variant:
    """Runs of one recipe, one per seed.

    Args:
        name: what tells it from the others.
        runs: in order of their seeds.
        singles: AUC^b by environment, for forward transfer; empty without single-task runs,
            where each run's own baseline, if it kept one, takes their place.
        against: whose single-task runs these are, and of how many seeds; or that they are the
            numbers that the runs kept; empty where there is no forward transfer.
    """

    name: str
    runs: tuple[Run, ...]
    singles: Mapping[str, float]
    against: str = ""

    @property
    def seeds(self) -> list[int]:
        """Its runs' seeds."""
        return [run.seed for run in self.runs]

    @property
    def tasks(self) -> list[str]:
        """Names of its tasks, in order."""
        return self.runs[0].tasks

    @property
    def stamp(self) -> dict[str, Any]:
        """Its protocol."""
        return self.runs[0].stamp

    @property
    def budget(self) -> float:
        """Environment steps per task."""
        return self.stamp.get("steps_per_task", math.nan)

    def scores(self, metric: str, seeds: Sequence[int] | None = None) -> Scores:
        """A metric's value of each seed and task, [seeds, tasks]; NaN where there is none.

        It is computed here, from what the runs keep.
        """
        return self._rows(METRICS[metric].per_task, seeds)

    def unreached(self, metric: str, seeds: Sequence[int] | None = None) -> Scores | None:
        """1.0 where a metric's value is but a lower bound, as `scores`; None: it never is."""
        function = METRICS[metric].unreached
        return None if function is None else self._rows(function, seeds)

    def _rows(self, function: Callable[[Kept], Scores], seeds: Sequence[int] | None) -> Scores:
        chosen = [k for run, k in zip(self.runs, self.kept) if seeds is None or run.seed in seeds]
        rows = [function(kept) for kept in chosen]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.tasks))

    @cached_property
    def kept(self) -> tuple[Kept, ...]:
        """What each run keeps, with the baseline of its tasks."""
        if not self.singles:
            return tuple(run.kept for run in self.runs)
        baseline = np.array([self.singles[environment(task)] for task in self.tasks])
        return tuple(replace(run.kept, baseline=baseline) for run in self.runs)


@dataclass(frozen=True)
class Study:
    """All that a report is about.

    Args:
        variants: in order; the baseline, if there is one, first.
        baseline: whether the first variant is what the others are compared with.
        question: what the comparison is for, or nothing.
        protocols: hash of a stamp to the stamp, one unless protocols are mixed.
        differences: path in the recipe to each variant's value.
        problems: one sentence each: what is missing, damaged or left out.
        axes: of the sweep, by name, or keys of the recipe: each variant's value.
    """

    variants: tuple[Variant, ...]
    baseline: bool
    question: str
    protocols: Mapping[str, Mapping[str, Any]]
    differences: Mapping[str, Sequence[str]]
    problems: tuple[str, ...]
    axes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def mixed(self) -> bool:
        """Whether runs of several protocols stand side by side."""
        return len(self.protocols) > 1

    @cached_property
    def complete(self) -> Mapping[tuple[str, ...], Mapping[str, NDArray[np.bool_]]]:
        """Of each stream and metric, tasks with a value in every seed of every variant, [tasks].

        A metric is not there if no variant has it; a variant without it, such as one without
        single-task runs, takes no task from the others.
        """
        streams: dict[tuple[str, ...], dict[str, NDArray[np.bool_]]] = {}
        for variant in self.variants:
            stream = streams.setdefault(tuple(variant.tasks), {})
            for metric in METRICS:
                there = ~np.isnan(variant.scores(metric)).any(0)
                if there.any():
                    stream[metric] = np.logical_and(stream.get(metric, there), there)
        return streams

    @cached_property
    def changed(self) -> Mapping[str, Sequence[str]]:
        """Metrics that some run recorded by another formula than today's, and those formulas."""
        return changed_formulas(run.stamp for variant in self.variants for run in variant.runs)

    @cached_property
    def marks(self) -> Mapping[str, str]:
        """What forward transfer is against to the mark behind it: none for the first."""
        against = dict.fromkeys(variant.against for variant in self.variants if variant.against)
        return {what: "†" * place for place, what in enumerate(against)}

    def symbol(self, metric: str) -> str:
        """A metric's symbol, with a star where a run recorded it by another formula."""
        return METRICS[metric].symbol + "*" * (metric in self.changed)

    def scores(self, variant: Variant, metric: str, seeds: Sequence[int] | None = None) -> Scores:
        """As the variant's own, of those tasks alone that all variants have."""
        return variant.scores(metric, seeds)[:, self._complete(variant, metric)]

    def missed(
        self, variant: Variant, metric: str, seeds: Sequence[int] | None = None
    ) -> Scores | None:
        """1.0 where a value of `scores` is but a lower bound; None: it never is."""
        bounds = variant.unreached(metric, seeds)
        return None if bounds is None else bounds[:, self._complete(variant, metric)]

    def _complete(self, variant: Variant, metric: str) -> NDArray[np.bool_] | slice:
        return self.complete[tuple(variant.tasks)].get(metric, slice(None))


def environment(task: str) -> str:
    """A task's environment: its name, but for the number of a second visit."""
    return task.partition("#")[0]


def make_study(
    run_set: RunSet, *, baseline: str | None = None, mix_protocols: bool = False
) -> Study:
    """Sorts runs into variants.

    Args:
        run_set: runs, and what could not be read.
        baseline: name of the variant that others are compared with; None: the sweep's.
        mix_protocols: whether runs of different protocols may stand side by side.

    Raises:
        RecipeError: no finished run, several protocols, or a baseline that is no variant.
    """
    problems = list(run_set.problems)
    singles, runs = _split(_distinct(run_set.runs, problems))
    if not runs:
        reason = f"; {problems[0]}" if problems else ""
        raise RecipeError(f"report: found no finished run{reason}")
    protocols = {run.stamp["hash"]: run.stamp for run in runs}
    if len(protocols) > 1 and not mix_protocols:
        raise RecipeError(_refusal(protocols, runs))
    named = _named_groups(_groups(runs), run_set.sweeps, len(protocols) > 1)
    first = _baseline(named, run_set.sweeps, baseline)
    names = sorted(named, key=lambda name: name != first)
    short = dict(zip(names, without_shared(names)))
    variants = tuple(
        Variant(short[name], tuple(named[name]), *_singles(name, first, named, short, singles))
        for name in names
    )
    problems += _missing(run_set, variants)
    if any(np.isnan(v.scores("forward_transfer")).all() for v in variants):
        problems.append(
            "No forward transfer: FT needs single-task runs of the same protocol and recipe; "
            "`cotasp sweep ... --single-tasks` makes them."
        )
    told_apart = differences([v.runs[0].recipe for v in variants])
    return Study(
        variants=variants,
        baseline=first is not None and len(variants) > 1,
        question=next((s.question for s in run_set.sweeps if s.question), "")
        or str(runs[0].recipe.get("question", "") if len(variants) == 1 else ""),
        protocols=protocols,
        differences=told_apart,
        problems=tuple(problems),
        axes=sweep_axes(names, run_set.sweeps) or independent(told_apart),
    )


def _split(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Single-task runs, and the others; single tasks alone are what is compared themselves."""
    singles = [run for run in runs if len(run.tasks) == 1]
    others = [run for run in runs if len(run.tasks) > 1]
    return (singles, others) if others else ([], singles)


def _refusal(protocols: Mapping[str, Mapping[str, Any]], runs: Sequence[Run]) -> str:
    stamps = list(protocols.values())
    keys = [
        key
        for key in dict.fromkeys(k for stamp in stamps for k in stamp)
        if key not in ("hash", "formulas")
        and any(stamp.get(key) != stamps[0].get(key) for stamp in stamps)
    ]
    examples = ", ".join(
        f"{next(str(r.path) for r in runs if r.stamp['hash'] == digest)} ({digest})"
        for digest in list(protocols)[:2]
    )
    return (
        f"report: the runs follow {len(stamps)} protocols that differ in {', '.join(keys)}: "
        f"{examples}; report them apart, or ask for it with --mix-protocols"
    )


def _distinct(runs: Sequence[Run], problems: list[str]) -> list[Run]:
    """Runs in order of their seeds, one of each recipe, protocol and seed."""
    kept: dict[tuple[str, str, int], Run] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        same = kept.setdefault((run.variant, run.stamp["hash"], run.seed), run)
        if same is not run:
            problems.append(f"{run.path}: the same recipe and seed as {same.path}; left out")
    return list(kept.values())


def _groups(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """Runs of one recipe and protocol."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.variant, run.stamp["hash"]), []).append(run)
    return groups


def _named_groups(
    groups: Mapping[tuple[str, str], list[Run]], sweeps: Sequence[Sweep], mixed: bool
) -> dict[str, list[Run]]:
    """Groups by name: the sweep's, where no other group has it, or what tells them apart."""
    sweep_names = {
        (sweep.path / directory).resolve(): name
        for sweep in sweeps
        for name, seeds in sweep.trials.items()
        for directory in seeds.values()
    }
    recipes = [group[0].recipe for group in groups.values()]
    told_apart = variant_names([{k: v for k, v in r.items() if k != BEGUN_AFTER} for r in recipes])
    ends = [
        (f" [begun after {recipe[BEGUN_AFTER]}]" if BEGUN_AFTER in recipe else "")
        + (f" [protocol {stamp[:6]}]" if mixed else "")
        for recipe, (_, stamp) in zip(recipes, groups)
    ]
    paths = [group[0].path.resolve() for group in groups.values()]
    own = [sweep_names.get(path, name) + end for path, name, end in zip(paths, told_apart, ends)]
    named: dict[str, list[Run]] = {}
    for its, name, end, group in zip(own, told_apart, ends, groups.values()):
        unique = its if own.count(its) == 1 else name + end
        while unique in named:
            unique += "'"
        named[unique] = group
    return named


def _named_by(wanted: str, name: str, short: str) -> bool:
    """Whether a variant is meant: by its name, with or without what all share, or the protocol."""
    return wanted in {n for full in (name, short) for n in (full, full.partition(" [protocol ")[0])}


def _baseline(
    named: Mapping[str, list[Run]], sweeps: Sequence[Sweep], baseline: str | None
) -> str | None:
    wanted = baseline or next((s.baseline for s in sweeps if s.baseline), None)
    if wanted is None:
        return None
    shorter = without_shared(list(named))
    for name, short in zip(named, shorter):
        if _named_by(wanted, name, short):
            return name
    if baseline is not None:
        raise RecipeError(f"--baseline: no variant {baseline!r}. {suggest(baseline, shorter)}")
    sweep = next(s for s in sweeps if s.baseline == wanted)
    places = {(sweep.path / d).resolve() for d in sweep.trials.get(wanted, {}).values()}
    held = (name for name, runs in named.items() if any(r.path.resolve() in places for r in runs))
    return next(held, None)  # under another name, where two sweeps have a variant of that one


def _singles(
    name: str,
    first: str | None,
    named: Mapping[str, Sequence[Run]],
    short: Mapping[str, str],
    singles: Sequence[Run],
) -> tuple[dict[str, float], str]:
    """AUC^b by environment, of all tasks or none, and what they are of.

    They are the baseline's, so that all variants are measured against one recipe, or else the
    variant's own.
    """
    run = named[name][0]
    fit = [single for single in singles if unlike(single.stamp, run.stamp) is None]
    for owner in filter(None, (first, name)):
        areas: dict[str, list[float]] = {}
        for single in fit:
            (auc,) = METRICS["area_under_curve"].per_task(single.kept)
            if single.method == named[owner][0].method and not math.isnan(auc):
                areas.setdefault(single.tasks[0], []).append(float(auc))
        needed = sorted({environment(task) for task in run.tasks})
        if {*needed} <= {*areas}:
            seeds = sorted({len(areas[task]) for task in needed})
            count = f"{seeds[0]} to " * (len(seeds) > 1) + counted(seeds[-1], "seed")
            means = {task: sum(values) / len(values) for task, values in areas.items()}
            return means, f"single-task runs of {short[owner]}, {count}"
    kept = [each.kept.baseline for each in named[name] if each.kept.baseline is not None]
    numbers = ", ".join(f"{area:.3g}" for area in np.mean(kept, axis=0)) if kept else ""
    return {}, f"AUC^b that the runs themselves kept, {numbers}" if kept else ""


def _missing(run_set: RunSet, variants: Sequence[Variant]) -> list[str]:
    there = {run.path.resolve() for run in run_set.runs}
    sentences = []
    for sweep in run_set.sweeps:
        for name, seeds in sweep.trials.items():
            absent = [s for s, d in seeds.items() if (sweep.path / d).resolve() not in there]
            if absent:
                sentences.append(f"{name}: no finished run of seed {', '.join(absent)}.")
    for variant in variants:
        if variant.runs[0].recipe.get(BEGUN_AFTER):
            sentences.append(
                f"{variant.name}: these runs begin with tasks that other runs have learned; "
                f"results of those tasks are the other runs'."
            )
    few = [v.name for v in variants if len(v.runs) == 1]
    if few:
        sentences.append(
            f"One seed only, so no interval is given: {'; '.join(few)}. An interval needs two "
            f"seeds, and means little with fewer than five."
        )
    return sentences
