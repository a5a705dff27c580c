"""New runs that begin where another had finished some of its tasks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cotasp.agents.agent import Agent, Continues
from cotasp.continual.begun import differences, flat, recipe_of
from cotasp.continual.history import History
from cotasp.errors import RecipeError, RunError, at
from cotasp.recipe import BRANCH_MAY_DIFFER, Recipe, to_node, variant_hash
from cotasp.storage.checkpoint import Checkpoint
from cotasp.storage.checkpoints import Checkpoints
from cotasp.storage.rundir import RunDirectory
from cotasp.storage.snapshot import Damaged
from cotasp.tasks.task import Task

# facts of a stream that must agree
_WORLD = (
    "environment",
    "simulator",
    "reward_version",
    "horizon",
    "action_repeat",
    "success_return",
)


def find_boundary(source: str) -> tuple[RunDirectory, int, Checkpoint]:
    """The run, the number of finished tasks and the checkpoint that `DIR@TASK` means.

    Args:
        source: TASK is the name of the last finished task, or how many have finished.

    Raises:
        RecipeError: it is not of that form, or the run has no such task.
        RunError: no run, or no whole checkpoint there.
    """
    path, at, task = source.rpartition("@")
    if not (at and path and task):
        raise RecipeError(f"--from {source}: expected DIR@TASK, e.g. runs/smoke-seed0@2")
    directory = RunDirectory.open(path)
    names = [task.name for task in recipe_of(directory).stream.make_tasks()]
    number = int(task) if task.isdecimal() else names.index(task) + 1 if task in names else 0
    if not 1 <= number <= len(names):
        raise RecipeError(
            f"--from {source}: expected a number of finished tasks, 1 to {len(names)}, or the name "
            f"of the last of them: {', '.join(names)}"
        )
    checkpoint = Checkpoints(directory.path).path / f"task_{number:02d}"
    if not checkpoint.is_dir():
        raise RunError(f"--from {source}: {checkpoint} is not there; has that task ended?")
    try:
        saved = Checkpoint.open(checkpoint)
        saved.verify()
    except Damaged as error:
        raise RunError(f"--from {source}: {checkpoint}: damaged: {error}") from error
    return directory, number, saved


def origin(directory: RunDirectory, recipe: Recipe, finished: int) -> dict[str, Any]:
    """What tells a run and one of its tasks from others to begin from, whatever their seeds: a hash
    of its recipe, and how many tasks it had finished.

    Args:
        directory: of the run.
        recipe: of the run.
        finished: how many.
    """
    before = directory.stamp().get("begun_from")
    noted = before if isinstance(before, Mapping) else {}
    after = {key: noted[key] for key in ("recipe", "finished") if key in noted}
    node = to_node(recipe) | ({"begun_from": after} if after else {})
    return {"recipe": variant_hash(node), "finished": finished}


def check_agreement(
    source: Recipe,
    recipe: Recipe,
    tasks: tuple[Task, ...],
    finished: int,
    free: tuple[str, ...] = BRANCH_MAY_DIFFER,
) -> None:
    """Raises RecipeError, naming the keys, when a recipe cannot go on from a source's tasks.

    Args:
        source: recipe of the run that was.
        recipe: of the run to be.
        tasks: of its stream.
        finished: how many of them the source had finished.
        free: keys that may differ.
    """
    there, here = dict(flat(to_node(source))), dict(flat(to_node(recipe)))
    may_differ = _free_keys(recipe.agent, {**there, **here}, free)
    there |= {f"stream {key}": source.stream.protocol().get(key) for key in _WORLD}
    here |= {f"stream {key}": recipe.stream.protocol().get(key) for key in _WORLD}
    before = source.stream.make_tasks()[:finished]
    for i, task in enumerate(before):
        there[f"task {i + 1}"] = f"{task.env}, {task.text!r}"
        here[f"task {i + 1}"] = f"{tasks[i].env}, {tasks[i].text!r}" if i < len(tasks) else None
    differ = differences(there, here, may_differ, ("there", "here"))
    if differ:
        raise RecipeError(
            f"recipe: cannot go on from that run, for these differ: {'; '.join(differ)}"
        )
    if isinstance(recipe.agent, Continues):
        with at("recipe.agent"):
            recipe.agent.check_continues(source.agent)
    heads, count = recipe.actor.heads, len(source.stream.make_tasks())
    if recipe.task_input == "number" and count != len(tasks):
        raise RecipeError(
            f"recipe.stream: expected {count} tasks, as many as that run numbers in observations, "
            f"got {len(tasks)}; list as many, or run the source with task_input=none"
        )
    if heads == "per_task" and count != len(tasks):
        raise RecipeError(
            f"recipe.stream: expected {count} tasks, as many as that run has heads for, got "
            f"{len(tasks)}; list as many, or run the source with actor.heads=shared"
        )
    if len(tasks) == finished:
        raise RecipeError(f"recipe.stream: expected a task after the {finished} finished ones")


def _free_keys(agent: Agent, keys: Iterable[str], free: tuple[str, ...]) -> set[str]:
    """Of keys of a recipe, those that may differ."""

    def within(key: str, names: Iterable[str]) -> bool:
        return any(key == name or key.startswith(f"{name}.") for name in names)

    bound: tuple[str, ...] = ("agent",)
    if isinstance(agent, Continues):
        bound = ("agent.name", *(f"agent.{name}" for name in agent.bound))
    allowed = (*free, "stream", "agent")
    return {key for key in keys if within(key, allowed) and not within(key, bound)}


def copy_boundary(source: Path, saved: Checkpoint, target: Path) -> None:
    """Gives a new run directory the checkpoint of another, and the metrics up to there.

    What the source has lost of its metrics is told when the new run begins, as when one is resumed.
    """
    for name in saved.manifest["metrics"]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            shutil.copyfile(source / name, target / name)
    new = Checkpoints(target).path
    for files in saved.rows().values():
        for entry in files:
            (new / "rows" / entry["file"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(saved.rows_path(entry), new / "rows" / entry["file"])
    shutil.copytree(saved.path, new / saved.path.name)


def copy_learner(source: Path, saved: Checkpoint, target: Path) -> None:
    """Gives a new run directory what another had learned, and none of what was measured there.

    The last task's transitions stay behind, for how many there are goes with its budget: nothing
    is distilled on them at the beginning of the next.
    """
    state = saved.state()
    if "replay" in state["learner"]:
        state["learner"] = {**state["learner"], "replay": None}
    empty = History([], rule="last", budget=1, average=1, threshold=1.0)
    beside = {
        "wall_seconds": 0.0,
        "peak_memory_bytes": 0,
        "cpu_seconds": 0.0,
        "cpu_seconds_at_evaluations": [],
        "metrics": {},
    }
    state = {**state, "history": empty.state_dict(), "faults": 0}
    Checkpoints(target).save(saved.path.name, state, beside)
