"""A run under way: what it consists of, how far it is, and how that is saved and restored."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

from tensordict import TensorDictBase

from cotasp.agents.agent import Consolidates, Learner, Parallel
from cotasp.continual.collection import Collection
from cotasp.continual.cost import ProcessorTime, peak_memory
from cotasp.continual.episodes import TrainingEpisodes
from cotasp.continual.evaluation import Evaluator
from cotasp.continual.history import History
from cotasp.continual.logs import Logs, cut_metrics
from cotasp.continual.randomness import random_state, set_random_state
from cotasp.continual.remote import Link, RemoteCollection, RemoteEvaluator
from cotasp.continual.seeds import derive_seed
from cotasp.errors import RunError, at
from cotasp.recipe import Recipe
from cotasp.storage.checkpoint import Checkpoint
from cotasp.storage.checkpoints import Checkpoints, checkpoint_name
from cotasp.storage.rundir import RunDirectory
from cotasp.tasks.lessons import lesson_name, lesson_of, make_lesson
from cotasp.tasks.task import Task, owners


class RunState:
    """Everything about a run that changes as it goes on.

    Args:
        directory: of the run, locked.
        recipe: of the run.
        tasks: of its stream.
        learner: at the beginning of the stream.
        progress: whether to draw a progress bar.
        link: to the process of its environments; None: they are in this one.
    """

    def __init__(
        self,
        directory: RunDirectory,
        recipe: Recipe,
        tasks: tuple[Task, ...],
        learner: Learner,
        progress: bool,
        link: Link | None = None,
    ) -> None:
        self.directory = directory
        self.recipe = recipe
        self.tasks = tasks
        self.learner = learner
        self.link = link
        self.history = History(
            [task.name for task in tasks],
            rule=recipe.evaluation.success,
            budget=recipe.steps_per_task,
            average=recipe.averaged_evaluations,
            threshold=recipe.evaluation.threshold,
            return_threshold=recipe.evaluation.return_threshold,
            lessons=None if tasks[0].together == 1 else [i - t.part for i, t in enumerate(tasks)],
        )
        budget = recipe.steps_per_task * tasks[0].together, recipe.frames_per_batch
        self.episodes = TrainingEpisodes(len(tasks), *budget, recipe.evaluation.success)
        self.checkpoints = Checkpoints(directory.path)
        self.finished = 0  # tasks
        self.faults = 0  # in finished tasks
        self.collection: Collection | RemoteCollection | None = None  # of the task in training
        self.updates_at_end: int | None = None  # of what a learner does at that task's end
        self._started, self._seconds_before = time.time(), 0.0
        self._peak_before = 0  # bytes, of the processes before a stop
        self.processor = ProcessorTime()
        saved = self.checkpoints.newest()
        self._saved_at: str | None = None if saved is None else saved.path.name
        if saved is not None:
            self._restore(saved)
        cut_metrics(directory.path, {} if saved is None else saved.manifest["metrics"])
        self.checkpoints.continue_from(saved)
        self.logs = Logs(directory.path, recipe, len(tasks), progress, self.steps)
        self.evaluator = self._evaluator()

    @property
    def lesson(self) -> Sequence[Task]:
        """The tasks that come next, or are in training: one, or several at once."""
        return lesson_of(self.tasks, self.finished)

    @property
    def _name(self) -> str:
        return lesson_name(self.lesson)

    @property
    def lesson_steps(self) -> int:
        """Environment steps of that lesson: the budgets of its tasks."""
        return self.recipe.steps_per_task * len(self.lesson)

    @property
    def steps(self) -> int:
        """Environment steps taken so far, of all tasks."""
        within = 0 if self.collection is None else self.collection.steps
        return self.finished * self.recipe.steps_per_task + within

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run, without that between a stop and its continuation."""
        return self._seconds_before + time.time() - self._started

    @property
    def peak_memory(self) -> int:
        """The most memory that a process of the run has had, in bytes."""
        return max(self._peak_before, peak_memory())

    @property
    def recalls(self) -> bool:
        """Whether the next task is one that returns and is not trained."""
        owner = owners(self.tasks)[self.finished]
        return owner != self.finished and self.tasks[self.finished].returning == "recall"

    @property
    def trained(self) -> int:
        """Tasks of the stream that are trained."""
        pairs = enumerate(zip(owners(self.tasks), self.tasks))
        return sum(owner == i or task.returning != "recall" for i, (owner, task) in pairs)

    @property
    def place(self) -> str:
        """Where the run is, for messages."""
        if self.collection is None:
            return f"after task {self.finished} of {len(self.tasks)}"
        name, updates = self._name, self.updates_at_end
        if updates is not None:
            return f"at the end of task {name!r} after {updates:,} updates"
        return f"in task {name!r} after {self.collection.steps:,} steps"

    def begin_task(self) -> Collection | RemoteCollection:
        """Starts the next lesson, or goes on with the one that was in training."""
        if self.collection is None:
            with at(f"task {self._name!r}, at its beginning", RunError):
                facts = self.learner.start_task(self.finished)
            self.history.add_facts(self.lesson[0].name, facts)
            self.episodes.begin_task()
            self.collection = self._collection()
        self.logs.begin_task(self.finished, self._name, self.collection.steps)
        return self.collection

    def _collection(self) -> Collection | RemoteCollection:
        seed = derive_seed(self.recipe.seed, "training", self.finished)
        agent = self.recipe.agent
        side_by_side = agent.num_envs if isinstance(agent, Parallel) else None
        make_env = partial(make_lesson, self.lesson, num_envs=side_by_side, seed=seed)
        repeat = self.lesson[0].action_repeat
        settings = self.learner.behaviour(), self._name, repeat, self.recipe.faults, seed
        if self.link is None:
            return Collection(make_env(), *settings)
        return RemoteCollection(self.link, make_env, *settings)

    def _evaluator(self) -> Evaluator | RemoteEvaluator:
        settings = self.tasks, self.recipe.evaluation, self.recipe.seed, self.recipe.faults
        if self.link is None:
            return Evaluator(*settings)
        return RemoteEvaluator(self.link, *settings)

    def note_episodes(self, data: TensorDictBase) -> None:
        """Counts and logs the episodes that a batch of the lesson in training ends."""
        steps = self.collection.steps  # type: ignore[union-attr]  # a task is in training
        self.logs.episodes(self.episodes.add(self.finished, steps, data, self.lesson))

    def consolidate(self, seconds: float) -> bool:
        """Lets a learner that works on at the task's end do so; whether anything is left."""
        if not isinstance(self.learner, Consolidates):
            return False
        with at(f"task {self._name!r}, at its end", RunError):
            self.updates_at_end, due = self.learner.consolidate(seconds)
        self.logs.consolidating(self.updates_at_end, due)
        return self.updates_at_end < due

    def end_task(self) -> None:
        """Finishes the lesson in training."""
        name = self.lesson[0].name
        with at(f"task {self._name!r}, at its end", RunError):
            facts = self.learner.end_task()
        self.history.add_facts(name, facts)
        self.logs.facts(name, self.history.facts[name], self.lesson_steps)
        self.faults += self.collection.faults  # type: ignore[union-attr]  # a task is in training
        self.collection.close()  # type: ignore[union-attr]  # as above
        self.collection, self.updates_at_end = None, None
        self.finished += len(self.lesson)

    def save(self) -> None:
        """Writes a checkpoint, unless this very state is saved; warns if there is no room.

        Raises:
            RunError: a number in the state is not finite.
        """
        name = self._checkpoint_name()
        if name == self._saved_at:
            return
        beside = {
            "wall_seconds": self.seconds,
            "peak_memory_bytes": self.peak_memory,
            **self.processor.to_json(),
            "metrics": self.logs.lengths(),
        }
        try:
            with at(self.place, RunError):
                self.checkpoints.save(name, self._state(), beside)
        except OSError as error:
            warnings.warn(
                f"no checkpoint {self.place}: {error.strerror or error}; the run goes on, and the "
                f"last checkpoint stays: {self._saved_at or 'none so far'}",
                stacklevel=2,
            )
        else:
            self._saved_at = name

    def _checkpoint_name(self) -> str:
        if self.collection is None:
            return checkpoint_name(self.finished - 1)
        return checkpoint_name(self.finished, self.collection.steps, self.updates_at_end)

    def _state(self) -> dict[str, Any]:
        return {
            "finished": self.finished,
            "faults": self.faults,
            "learner": self.learner.state_dict(),
            "collection": None if self.collection is None else self.collection.state_dict(),
            "history": self.history.state_dict(),
            "episodes": self.episodes.state_dict(),
            "random": random_state(),
        }

    def _restore(self, saved: Checkpoint) -> None:
        state = saved.state()
        self._seconds_before = float(saved.manifest["wall_seconds"])
        self._peak_before = int(saved.manifest.get("peak_memory_bytes", 0))
        try:
            self.finished, self.faults = int(state["finished"]), int(state["faults"])
            self.learner.load_state_dict(state["learner"])
            self.history.load_state_dict(state["history"])
            self.episodes.load_state_dict(state["episodes"])
            if state["collection"] is not None:
                self.collection = self._collection()
                self.collection.load_state_dict(state["collection"])
            set_random_state(state["random"])
            self.processor.continue_from(saved.manifest)
        except Exception as error:  # torch, tensordict and the components raise their own
            raise RunError(f"{saved.path}: cannot be loaded: {error}") from error

    def close(self) -> None:
        """Closes environments and files."""
        if self.collection is not None:
            self.collection.close()
        self.evaluator.close()
        self.logs.close()
