"""Runs a sweep: what is missing, side by side, to a table."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotasp._yaml import parse
from cotasp.continual.bar import progress_bar, write_above
from cotasp.continual.stopping import StopRequest
from cotasp.errors import RunError, RunStopped, at, component_errors
from cotasp.recipe import TRIAL_MAY_DIFFER, Recipe, dump
from cotasp.recipe_files import mapping, read_node
from cotasp.storage.rundir import RECIPE, SWEEP, RunDirectory, read_json, write_json, write_text
from cotasp.sweep.launchers import ChecksRecipes, Launcher
from cotasp.sweep.plan import Plan
from cotasp.sweep.trial import Job, job_at, reason
from cotasp.words import counted

RETRIES = 5  # of a trial whose worker is killed
_EVERY = 0.3  # s between looks at the trials' progress


@dataclass
class Outcome:
    """How a trial ended.

    Args:
        state: `there` before, `done`, `failed` or `killed`.
        reason: why it failed, or nothing.
        log: the file that says more of it, or nothing.
    """

    state: str
    reason: str = ""
    log: str = ""


def prepare(plan: Plan, out: Path) -> list[Job]:
    """Writes `sweep.json` and the recipes of trials that are missing; every trial's job, in order.

    Raises:
        RecipeError: the plan cannot be run; nothing has been written.
        RunError: a directory holds something else, a run or another recipe's, or cannot be
            written.
    """
    trials = plan.resolved()
    if (out / RECIPE).is_file():
        RunDirectory.check_free(out)
    for name, recipe in trials.items():
        _check_same(out / name, recipe)
    jobs = [make_job(out, name, recipe) for name, recipe in trials.items()]
    for link in (Path(file) for job in jobs for file in (job.recipe, job.log)):
        if link.is_symlink():
            raise RunError(
                f"{link}: expected a file of the sweep or nothing there, found a symbolic link; "
                f"remove it, or choose another --out"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(out):
            facts = with_earlier(out, plan.facts(trials))
            for job, recipe in zip(jobs, trials.values()):
                if not job.finished:
                    Path(job.recipe).parent.mkdir(parents=True, exist_ok=True)
                    write_text(Path(job.recipe), dump(recipe))
            write_json(out / SWEEP, facts)  # last: it names trials by their recipes
    except OSError as error:
        raise RunError(f"{out}: cannot write the sweep: {error.strerror}") from error
    return jobs


@contextmanager
def _one_at_a_time(out: Path) -> Iterator[None]:
    """Waits while another sweep prepares in a directory: each adds to what the other wrote."""
    directory = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def with_earlier(out: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """What `sweep.json` is to say, with the trials of an earlier call that have begun or wait to:
    some variants or seeds may be run alone without the others being forgotten.

    Args:
        out: directory of the sweep.
        facts: of this call.

    Raises:
        RunError: what an earlier call wrote cannot be read.
    """
    try:
        before = read_json(out / SWEEP)
        earlier = {
            name: {
                seed: place
                for seed, place in seeds.items()
                if (out / place).is_dir() or (out / f"{place}.yaml").is_file()
            }
            for name, seeds in before["trials"].items()
        }
        axes, baseline = dict(before.get("axes", {})), before.get("baseline")
    except FileNotFoundError:
        return facts
    except (RunError, KeyError, TypeError, ValueError, AttributeError) as error:
        told = error if isinstance(error, RunError) else f"{out / SWEEP}: damaged: no trials in it"
        raise RunError(
            f"{told}; put it back, or remove it: a report then names the trials of earlier calls "
            f"by their recipes"
        ) from error
    trials = {
        name: seeds | facts["trials"].get(name, {}) for name, seeds in earlier.items() if seeds
    }
    trials |= {name: seeds for name, seeds in facts["trials"].items() if name not in trials}
    axes = {name: levels for name, levels in axes.items() if name in trials}
    axes |= facts.get("axes", {})
    if facts.get("baseline") is None and baseline in trials:
        facts = facts | {"baseline": baseline}
    return facts | {"trials": trials, "axes": axes}


def make_job(out: Path, name: str, recipe: Recipe) -> Job:
    """The job of a trial of a sweep."""
    with component_errors("stream", recipe.stream):
        steps = recipe.steps_per_task * len(recipe.stream.make_tasks())
    return job_at(str((out / name).resolve()), name, steps)


def _check_same(path: Path, recipe: Recipe) -> None:
    """Raises RunError when the directory holds a run of another recipe, or no run."""
    if not (path / RECIPE).is_file():
        return RunDirectory.check_free(path)
    held = read_node(path / RECIPE)
    due = mapping(parse(dump(recipe), "recipe"), "recipe")
    for key in {**due, **held}:
        if key not in TRIAL_MAY_DIFFER and held.get(key) != due.get(key):
            raise RunError(
                f"{path}: holds a run of another recipe, whose {key} differs; choose another "
                f"--out, or remove it"
            )


def run_sweep(
    plan: Plan,
    out: str | Path,
    launcher: Launcher,
    *,
    retries: int = RETRIES,
    progress: bool = True,
) -> dict[str, Outcome]:
    """Runs the trials that are missing; a failure stops no other.

    Args:
        plan: what to run.
        out: directory of the sweep; trials that have ended there are kept.
        launcher: where trials run.
        retries: how often a trial whose worker is killed is tried again.
        progress: whether to draw a progress bar on standard error.

    Returns:
        each trial's outcome, in order.

    Raises:
        RunStopped: SIGTERM or SIGINT asked for it; the same sweep goes on where its trials were.
    """
    if isinstance(launcher, ChecksRecipes):
        for name, recipe in plan.recipes().items():
            with at(f"sweep: {name}"):
                launcher.check_recipe(recipe)
    jobs = prepare(plan, Path(out))
    outcomes = {job.name: Outcome("there") for job in jobs if job.finished}
    missing = [job for job in jobs if job.name not in outcomes]
    if missing:
        with component_errors("launcher", launcher):
            pool = launcher.open()
        try:
            with StopRequest() as stop:  # Ray has its own, until its pool is open
                outcomes |= _run(pool, missing, outcomes, retries, progress, stop)
        finally:
            pool.close()
    return {job.name: outcomes[job.name] for job in jobs}


def _run(
    pool: Any,
    jobs: list[Job],
    there: Mapping[str, Outcome],
    retries: int,
    progress: bool,
    stop: StopRequest,
) -> dict[str, Outcome]:
    """Submits, waits, retries, and shows how far all trials are."""
    left = dict.fromkeys(jobs, retries)
    outcomes: dict[str, Outcome] = {}
    for job in jobs:
        pool.submit(job)
    with progress_bar(
        sum(job.steps for job in jobs),
        visible=progress,
        done=sum(job.progress() for job in jobs),
        description=counted(len(jobs), "trial"),
    ) as bar:
        while len(outcomes) < len(jobs):
            for job, code in pool.ended(_EVERY):
                if _killed(code) and left[job] > 0 and not job.finished:
                    left[job] -= 1
                    write_above(bar, f"{job.name}: killed; tried again")
                    pool.submit(job)
                    continue
                outcomes[job.name] = _outcome(job, code)
                if outcomes[job.name].state != "done":
                    write_above(bar, f"{job.name}: {outcomes[job.name].state}")
            if stop.signal is not None and len(outcomes) < len(jobs):
                raise RunStopped(
                    f"stopped by {stop.signal.name}, {len(outcomes) + len(there)} of "
                    f"{len(jobs) + len(there)} trials have ended; the same command goes on",
                    stop.signal,
                )
            failed = sum(o.state != "done" for o in outcomes.values())
            bar.set_postfix_str(
                f"{len(outcomes) - failed + len(there)} done"
                + (f", {failed} failed" if failed else ""),
                refresh=False,
            )
            taken = sum(job.steps if job.name in outcomes else job.progress() for job in jobs)
            bar.update(taken - bar.n)
    return outcomes


def _killed(code: int) -> bool:
    """Whether an exit code tells of a signal, caught (128 more than its number) or not."""
    return code < 0 or code in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def _outcome(job: Job, code: int) -> Outcome:
    if job.finished:  # whatever became of its process then
        return Outcome("done")
    if _killed(code):
        return Outcome("killed", "killed too often", job.log)
    return Outcome("failed", reason(job), job.log)


def outcome_table(outcomes: Mapping[str, Outcome], out: str | Path) -> str:
    """One line per trial: how it ended, P, F and the time it took."""
    width = max(len("trial"), *map(len, outcomes))
    lines = [f"{'trial':<{width}}  state       P     F  seconds"]
    for name, outcome in outcomes.items():
        run = RunDirectory(Path(out) / name)
        summary = {}
        with suppress(RunError):  # one that cannot be read says nothing here, `report` names it
            summary = run.summary() or {}
        p, f, seconds = (
            "-" if value is None else f"{value:.{digits}f}"
            for value, digits in (
                (summary.get("performance"), 2),
                (summary.get("forgetting"), 2),
                (run.seconds(), 0),
            )
        )
        lines.append(f"{name:<{width}}  {outcome.state:<6}  {p:>5} {f:>5}  {seconds:>7}")
    return "\n".join(lines)


def failures(outcomes: Mapping[str, Outcome]) -> str:
    """Each reason why trials failed, once, and under it these trials and their logs."""
    reasons = dict.fromkeys(o.reason for o in outcomes.values() if o.reason)
    lines: list[str] = []
    for why in reasons:
        lines.append(f"failed: {why}")
        lines += [f"  {name}: see {o.log}" for name, o in outcomes.items() if o.reason == why]
    return "\n".join(lines)
