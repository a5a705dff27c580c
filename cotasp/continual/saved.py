"""Runs read back: their learner, their use as a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotasp.agents.agent import Learner
from cotasp.continual.begun import recipe_of
from cotasp.continual.kept import Kept
from cotasp.continual.metrics import METRICS
from cotasp.continual.protocol import unlike
from cotasp.continual.setup import make_learner, make_tasks
from cotasp.errors import RecipeError, RunError
from cotasp.recipe import Recipe
from cotasp.storage.checkpoint import Checkpoint
from cotasp.storage.checkpoints import Checkpoints
from cotasp.storage.rundir import RunDirectory
from cotasp.tasks.task import Task


@dataclass(frozen=True)
class SavedRun:
    """A run's recipe, tasks and last checkpoint, read and not yet made use of.

    Args:
        recipe: of the run.
        tasks: of its stream.
        checkpoint: the last that is whole.
        state: which it holds.
    """

    recipe: Recipe
    tasks: tuple[Task, ...]
    checkpoint: Checkpoint
    state: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> SavedRun:
        """That of a run directory.

        Raises:
            RunError: no run directory, no checkpoint, or a damaged one.
        """
        directory = RunDirectory.open(path)
        recipe = recipe_of(directory)
        saved = Checkpoints(directory.path).newest()
        if saved is None:
            raise RunError(f"{directory.path}: no checkpoint yet; wait for one, or run it again")
        return cls(recipe, make_tasks(recipe), saved, saved.state())

    @property
    def finished(self) -> int:
        """How many tasks of the stream had ended."""
        return int(self.state["finished"])

    @property
    def learner_state(self) -> Mapping[str, Any]:
        """What the learner's `state_dict` returned."""
        return self.state["learner"]

    def learner(self) -> Learner:
        """The learner; RunError where the checkpoint does not fit the recipe."""
        learner = make_learner(self.recipe, self.tasks)
        with self.loading():
            learner.load_state_dict(self.learner_state)
        return learner

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Tells what goes wrong inside as a checkpoint that cannot be loaded."""
        try:
            yield
        except Exception as error:  # torch, tensordict and the components raise their own
            raise RunError(f"{self.checkpoint.path}: cannot be loaded: {error}") from error


def load_run(path: str | Path) -> tuple[Recipe, tuple[Task, ...], Learner]:
    """A run's recipe, tasks, and learner as its last checkpoint holds it.

    Raises:
        RunError: no run directory, no checkpoint, or one that does not fit the recipe.
    """
    run = SavedRun.read(path)
    return run.recipe, run.tasks, run.learner()


def baseline_auc(paths: Sequence[str | Path], stamp: dict[str, Any]) -> dict[str, float]:
    """AUC^b of single-task runs, by environment, averaged over runs of the same one.

    Args:
        paths: run directories, each of a stream of one task.
        stamp: of the run they are to be compared with.

    Raises:
        RecipeError: a run has several tasks or followed another protocol.
        RunError: a directory without summary.
    """
    areas: dict[str, list[float]] = {}
    for path in paths:
        summary = RunDirectory.open(path).results()
        if len(summary["tasks"]) != 1:
            raise RecipeError(
                f"baseline {path}: expected a run of one task, got {len(summary['tasks'])}"
            )
        key = unlike(summary["protocol"], stamp)
        if key is not None:
            raise RecipeError(
                f"baseline {path}: expected the same {key} as this run, "
                f"{stamp.get(key)!r}, got {summary['protocol'].get(key)!r}"
            )
        (auc,) = METRICS["area_under_curve"].per_task(Kept.from_summary(summary))
        areas.setdefault(summary["tasks"][0], []).append(float(auc))
    return {env: sum(values) / len(values) for env, values in areas.items()}
