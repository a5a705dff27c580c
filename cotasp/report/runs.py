"""Run directories read for a report: JSON and YAML only, nothing is loaded or executed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cotasp._yaml import parse
from cotasp.continual.kept import Kept
from cotasp.continual.metrics import METRICS
from cotasp.errors import CotaspError, RunError
from cotasp.recipe import INCIDENTAL, variant_hash
from cotasp.storage.rundir import RECIPE, STAMP, SUMMARY, SWEEP, TIMING, RunDirectory, read_json

BEGUN_AFTER = "begun_after"
_MARKS = {RECIPE, SUMMARY}  # of a run directory
_LINK = "link"


@dataclass(frozen=True)
class Run:
    """One finished run.

    Args:
        path: its directory.
        recipe: as in its `recipe.yaml`, every default written out; a run that began with another
            run's tasks is another variant than a fresh one, so `begun_after` says which.
        summary: its summary.json.
        cost: wall time, updates and memory; empty where the run did not note them.
    """

    path: Path
    recipe: dict[str, Any]
    summary: dict[str, Any]
    cost: dict[str, float] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.summary["seed"]

    @property
    def tasks(self) -> list[str]:
        """Names of its tasks, in order."""
        return self.summary["tasks"]

    @property
    def stamp(self) -> dict[str, Any]:
        """Its protocol."""
        return self.summary["protocol"]

    @cached_property
    def kept(self) -> Kept:
        """What its metrics are computed from."""
        return Kept.from_summary(self.summary)

    @cached_property
    def variant(self) -> str:
        """A hash of the recipe but for its seed and what does not change results."""
        return variant_hash(self.recipe)

    @cached_property
    def method(self) -> str:
        """As `variant`, whatever the stream: what a single-task baseline must share."""
        return variant_hash(self.recipe, (*INCIDENTAL, "stream", "evaluation", BEGUN_AFTER))


@dataclass(frozen=True)
class Sweep:
    """What a sweep's directory says of itself: `sweep.json`.

    Args:
        path: the directory.
        question: what it is for.
        baseline: name of the variant that the others are compared with, or None.
        trials: `{variant: {seed: directory}}`, relative to `path`.
        axes: `{variant: {axis: value}}`; empty where the sweep does not say.
    """

    path: Path
    question: str
    baseline: str | None
    trials: dict[str, dict[str, str]]
    axes: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class RunSet:
    """What directories hold.

    Args:
        runs: finished runs.
        sweeps: the sweeps that they belong to.
        problems: one sentence for each directory that cannot be used.
    """

    runs: list[Run] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _walk(top: Path) -> Iterator[tuple[Path, str]]:
    """Run directories and sweeps below a directory, which may be one itself, and links to such."""
    for folder, below, files in os.walk(top):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for path in (Path(folder, name) for name in below):
            if path.is_symlink() and any((path / file).is_file() for file in (*_MARKS, SWEEP)):
                yield path, _LINK
        if SWEEP in files:
            yield Path(folder), SWEEP
        if not _MARKS.isdisjoint(files):
            below.clear()  # a run's own folders hold no runs
            yield Path(folder), RECIPE


def read_runs(paths: Sequence[str | Path]) -> RunSet:
    """Finished runs in the directories given and below them.

    A directory that is empty, damaged or not finished becomes a sentence in `problems`.
    """
    run_set = RunSet()
    recipes: dict[str, dict[str, Any]] = {}  # runs of a sweep differ in little: parse once
    seen: set[tuple[Path, str]] = set()
    links: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            run_set.problems.append(
                f"{path}: expected a directory of runs, found a file; name the directory"
                if path.exists()
                else f"{path}: no such directory; check the path"
            )
            continue
        places = list(_walk(path))
        links += (place for place, kind in places if kind == _LINK)
        if not any(kind == RECIPE for _, kind in places):
            run_set.problems.append(f"{path}: holds no run directory (one with {RECIPE})")
        for place, kind in places:
            if kind == _LINK or (place.resolve(), kind) in seen:
                continue
            seen.add((place.resolve(), kind))
            try:
                if kind == SWEEP:
                    run_set.sweeps.append(_read_sweep(place))
                else:
                    run_set.runs.append(_read_run(place, recipes))
            except CotaspError as error:
                run_set.problems.append(str(error))
    there = {place for place, _ in seen}
    run_set.problems += (
        f"{link}: left out, for it is a symbolic link, which leads out of the directories given; "
        f"name it as one of them"
        for link in links
        if link.resolve() not in there
    )
    return run_set


def _read_run(path: Path, recipes: dict[str, dict[str, Any]]) -> Run:
    if not (path / RECIPE).is_file():
        raise RunError(f"{path}: damaged: {RECIPE} is missing")
    recipe = _read_recipe(path / RECIPE, recipes)
    if not (path / SUMMARY).is_file():
        raise RunError(
            f"{path}: not finished, no {SUMMARY}; left out until `cotasp resume {path}` has "
            f"ended it"
        )
    summary = RunDirectory(path).results()
    after = _begun_after(path, summary)
    if after:
        recipe = {**recipe, BEGUN_AFTER: after}
    timing = read_json(path / TIMING) if (path / TIMING).is_file() else {}
    if not isinstance(timing, dict):
        raise RunError(f"{path / TIMING}: damaged: expected a mapping; left out")
    numbers = {k: float(v) for k, v in timing.items() if type(v) in (int, float) and 0 <= v < 1e300}
    run = Run(path, recipe, summary, numbers)
    _try_metrics(run)
    return run


def _try_metrics(run: Run) -> None:
    """Raises RunError where a metric fails on what a run keeps, so that it is this run that is left
    out, and not the report that ends.
    """
    for metric in METRICS.values():
        try:
            metric.per_task(run.kept)
            if metric.unreached is not None:
                metric.unreached(run.kept)
        except Exception as error:
            what = str(error) if isinstance(error, RunError) else f"metric {metric.name}: {error}"
            raise RunError(
                f"{run.path}: left out, for what it keeps has no metrics: {what}"
            ) from error


def _begun_after(path: Path, summary: dict[str, Any]) -> str:
    """How many tasks another run had finished where a run began, and that run's variant, as
    `@2 of 0123456789ab`; nothing where it began by itself.
    """
    begun = summary.get("begun_from")
    if begun is None and (path / STAMP).is_file():
        facts = read_json(path / STAMP)
        begun = facts.get("begun_from") if isinstance(facts, dict) else None
    if not isinstance(begun, dict):
        begun = {"run": begun} if begun else {}
    if "recipe" in begun:
        return f"@{begun.get('finished')} of {begun['recipe']}"
    if not begun:
        return ""
    task = str(begun.get("run", "unknown")).rpartition("@")[2]  # all that earlier runs noted
    names = summary["tasks"]
    return f"@{names.index(task) + 1 if task in names else task}"


def _read_recipe(path: Path, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged, cannot be read: {error}") from error
    text = "\n".join(line for line in lines if not line.startswith("seed:"))
    if text not in known:
        node = parse(text, str(path))
        if not isinstance(node, dict):
            raise RunError(f"{path}: damaged: expected a recipe")
        known[text] = node
    return known[text]


def _read_sweep(path: Path) -> Sweep:
    node = read_json(path / SWEEP)
    try:
        trials = {str(k): {str(s): str(d) for s, d in v.items()} for k, v in node["trials"].items()}
        baseline = node.get("baseline")
        named = None if baseline is None else str(baseline)
        levels = node.get("axes", {})
        axes = {str(k): {str(a): str(x) for a, x in v.items()} for k, v in levels.items()}
        return Sweep(path, str(node.get("question", "")), named, trials, axes)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path / SWEEP}: damaged: no trials in it") from error
