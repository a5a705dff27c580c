"""The loop over tasks.  It knows the learner and the stream, and no component by name."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cotasp.continual.begun import BEGUN, recipe_of, warn_of_changes
from cotasp.continual.branch import (
    check_agreement,
    copy_boundary,
    copy_learner,
    find_boundary,
    origin,
)
from cotasp.continual.cost import cost
from cotasp.continual.protocol import protocol_stamp, versions
from cotasp.continual.randomness import seed_everything
from cotasp.continual.remote import Link
from cotasp.continual.setup import make_learner, make_tasks
from cotasp.continual.state import RunState
from cotasp.continual.stopping import StopRequest
from cotasp.errors import RecipeError, RunError, RunStopped, at
from cotasp.recipe import ADAPT_MAY_DIFFER, BRANCH_MAY_DIFFER, Recipe, dump, load
from cotasp.storage.disk import remove_unfinished
from cotasp.storage.rundir import EVALUATIONS, SUMMARY, TIMING, RunDirectory
from cotasp.tasks.lessons import lesson_name, lesson_of

if TYPE_CHECKING:
    from cotasp.agents.updates import Stacking

PIECE = 1.0  # s of work at a task's end between two looks at signals
SAVE_EVERY = 60.0  # s of it between two checkpoints


def run(
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    baseline: Mapping[str, float] | None = None,
    source: str | None = None,
    adapting: bool = False,
    progress: bool = True,
    stacking: Stacking | None = None,
    link: Link | None = None,
) -> dict[str, Any]:
    """Learns the recipe's stream and writes a run directory.

    SIGTERM and SIGINT stop it at the end of a batch, where it can be continued with `resume`.

    Args:
        recipe: what to run, or its file.
        out: the run directory; must not exist or be empty.
        baseline: AUC of single-task runs by environment, see `cotasp.continual.saved`; without
            it, or where a task has none, there is no forward transfer.
        source: `DIR@TASK`, a run and one of its tasks, by name or number, after which this run
            begins; the recipes may differ in what comes next, see `cotasp.continual.branch`.
        adapting: take from there what was learned and not what was measured, so that steps per
            task and evaluations may differ as well.
        progress: whether to draw a progress bar on standard error.
        stacking: see `make_learner`.
        link: to the process of the run's environments; None: they are in this one.

    Returns:
        the summary, as written to `summary.json`.

    Raises:
        RecipeError: the recipe cannot be run, or not from there; nothing has been written.
        RunError: something went wrong on the way; what was written until then stays, unless no
            step had been taken: then nothing is left, and the same command can be given again.
        RunStopped: a signal asked for it.
    """
    if isinstance(recipe, (str, Path)):
        recipe = load(recipe)
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"recipe: expected a Recipe or the path of its file, got {type(recipe).__name__}; "
            f"cotasp.load reads a file, cotasp.loads a text"
        )
    RunDirectory.check_free(out)
    tasks = make_tasks(recipe)
    seed_everything(recipe.seed)  # after environments were made, which may draw from them
    facts = {
        **protocol_stamp(recipe),
        BEGUN: dump(recipe),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "baseline": dict(baseline or {}),
    }
    more = {}
    if source is not None:
        before, finished, saved = find_boundary(source)
        free = ADAPT_MAY_DIFFER if adapting else BRANCH_MAY_DIFFER
        theirs = recipe_of(before)
        check_agreement(theirs, recipe, tasks, finished, free)
        facts["begun_from"] = {
            "run": source,
            **origin(before, theirs, finished),
            "content": saved.content_hash(),
        }
        copy = copy_learner if adapting else copy_boundary
        more["fill"] = partial(copy, before.path, saved)
    learner = make_learner(recipe, tasks, stacking)
    there = Path(out).is_dir()
    directory = RunDirectory.create(out, dump(recipe), facts, **more)
    with directory.locked():
        state, first = None, 0
        try:
            state = RunState(directory, recipe, tasks, learner, progress, link)
            first = state.steps
            return _continue(state)
        except Exception as error:
            if (state is None or state.steps == first) and _may_discard(error):
                directory.discard(keep_folder=there)
            raise


def _may_discard(error: Exception) -> bool:
    """Whether a run that failed by this error before its first step leaves nothing behind: not if a
    signal stopped it, nor if a file could not be written, for then the error says that files stay.
    """
    unwritten = type(error) is RunError and isinstance(error.__cause__, OSError)
    return not unwritten and not isinstance(error, RunStopped)


def resume(
    path: str | Path,
    *,
    progress: bool = True,
    stacking: Stacking | None = None,
    link: Link | None = None,
) -> dict[str, Any]:
    """Continues a run that was stopped in whatever way, from its last checkpoint.

    It ends with the same bits as a run that was never stopped, on the same machine with the same
    packages; a run that has ended is left as it is.

    Args:
        path: the run directory.
        progress: whether to draw a progress bar on standard error.
        stacking: see `make_learner`.
        link: to the process of the run's environments; None: they are in this one.

    Returns:
        the summary, as written to `summary.json`.

    Raises:
        RunError: no run directory, another process is at work in it, no checkpoint of it can be
            read, or what `run` raises.
        RunStopped: a signal asked for it.
    """
    directory = RunDirectory.open(path)
    with directory.locked():
        remove_unfinished(directory.path)
        ended = directory.summary()
        if ended is not None:
            return ended
        if (directory.path / SUMMARY).exists():
            warnings.warn(
                f"{directory.path / SUMMARY}: damaged; written anew from the last checkpoint",
                stacklevel=2,
            )
        recipe = recipe_of(directory)
        warn_of_changes(directory)
        tasks = make_tasks(recipe)
        seed_everything(recipe.seed)
        learner = make_learner(recipe, tasks, stacking)
        return _continue(RunState(directory, recipe, tasks, learner, progress, link))


def _continue(state: RunState) -> dict[str, Any]:
    """Goes through the tasks that are left."""
    recipe, tasks = state.recipe, state.tasks
    try:
        with StopRequest() as stop:
            while state.finished < len(tasks):
                if state.recalls:
                    _recall(state)
                else:
                    _train(state, stop)
                    _consolidate(state, stop)
                    state.end_task()
                last = lesson_of(tasks, state.finished - 1)
                _evaluate(state, state.finished - len(last), recipe.steps_per_task * len(last))
                state.directory.write(
                    EVALUATIONS, {**state.history.to_json(), "training": state.episodes.to_json()}
                )
                state.save()
                _stop_if_asked(stop, state)
        return _summarise(state)
    finally:
        state.close()


def _train(state: RunState, stop: StopRequest) -> None:
    """Collects and learns, to the last step of the lesson in training."""
    recipe, collection = state.recipe, state.begin_task()
    end, every = state.lesson_steps, recipe.evaluate_every * len(state.lesson)
    if collection.steps == 0:
        _evaluate(state, state.finished, 0)
    while collection.steps < end:
        data = collection.collect(recipe.frames_per_batch)
        steps = collection.steps
        state.note_episodes(data)
        with at(f"task {collection.task!r}, step {steps}", RunError):
            losses = state.learner.learn(data)
        state.logs.step(steps, data, losses)
        if steps == end:
            return
        if steps % every == 0:
            _evaluate(state, state.finished, steps)
        if steps % recipe.checkpoint_every < recipe.frames_per_batch:
            state.save()
        _stop_if_asked(stop, state)


def _consolidate(state: RunState, stop: StopRequest) -> None:
    """What a learner does at a task's end, with checkpoints on the way where that is long."""
    saved = time.monotonic()
    while state.consolidate(PIECE):
        if time.monotonic() - saved > SAVE_EVERY:
            state.save()
            saved = time.monotonic()
        _stop_if_asked(stop, state)


def _recall(state: RunState) -> None:
    """Evaluates as often as while training a task whose policy is taken as it is."""
    recipe, index = state.recipe, state.finished
    name = state.tasks[index].name
    for steps in range(0, recipe.steps_per_task, recipe.evaluate_every):
        state.logs.begin_task(index, name, steps)
        _evaluate(state, index, steps)
    state.logs.begin_task(index, name, recipe.steps_per_task)
    state.finished += 1


def _stop_if_asked(stop: StopRequest, state: RunState) -> None:
    """Ends the run here if it was asked to, unless there is nothing left to do."""
    if stop.signal is None or state.finished == len(state.tasks):
        return
    state.save()
    raise RunStopped(
        f"stopped by {stop.signal.name} {state.place}; "
        f"go on with `cotasp resume {state.directory.path}`",
        stop.signal,
    )


def _summarise(state: RunState) -> dict[str, Any]:
    """Writes `summary.json`, and beside it how long it took."""
    directory, recipe = state.directory, state.recipe
    stamp = directory.stamp()
    baseline = stamp.get("baseline", {})
    summary = {
        **state.history.summary(
            [baseline.get(task.env) for task in state.tasks], state.episodes.to_json()
        ),
        **state.learner.summary(),
        "protocol": protocol_stamp(recipe),
        "seed": recipe.seed,
        "steps": recipe.steps_per_task * state.trained,
        "simulator_faults": state.faults,
        "versions": versions(),
    }
    if "begun_from" in stamp:
        summary["begun_from"] = stamp["begun_from"]
    directory.write(TIMING, cost(state.seconds, state.peak_memory, state.processor))
    directory.write(SUMMARY, summary)
    return summary


def _evaluate(state: RunState, index: int, steps: int) -> None:
    """Evaluates the tasks that the schedule asks for.

    Args:
        state: of the run.
        index: of the first task of the lesson in training.
        steps: that it has taken.
    """
    recipe, history = state.recipe, state.history
    lesson = lesson_of(state.tasks, index)
    done = -(-steps // (recipe.evaluate_every * len(lesson)))
    left = (len(history.tasks) - index) // len(lesson) * recipe.evaluations_per_task - done
    everything = recipe.evaluation.schedule == "full" or left < recipe.averaged_evaluations
    chosen = range(len(history.tasks)) if everything else range(index, index + len(lesson))
    place = f"task {lesson_name(lesson)!r}, step {steps}"
    with state.processor.evaluation(), at(place, RunError):
        scores = {i: state.evaluator(i, state.learner.policy(i)) for i in chosen}
    history.add(index, steps, scores)
    state.faults += sum(score.faults for score in scores.values())
    state.logs.evaluation(index, steps, {history.tasks[i]: score for i, score in scores.items()})
