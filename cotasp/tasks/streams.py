"""What a stream is, and those of Meta-World tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.registry import suggest
from cotasp.tasks import texts
from cotasp.tasks.entries import (
    TaskEntry,
    check_horizon,
    check_together,
    checked_entries,
    named_tasks,
    phrased,
    returning_fact,
    task_facts,
)
from cotasp.tasks.task import Returning, Task
from cotasp.tasks.texts import shipped_texts

if TYPE_CHECKING:
    from torchrl.envs import EnvBase


class Stream(Protocol):
    """Tasks in order."""

    @property
    def horizon(self) -> int | None:
        """Steps until an episode is truncated; None: each environment's own limit."""
        ...

    @property
    def action_repeat(self) -> int:
        """Environment steps that every action is held for."""
        ...

    def make_tasks(self) -> tuple[Task, ...]:
        """The tasks in order, each under a name of its own; environments are not kept.

        Raises:
            RecipeError: a task that cannot be built, or that does not fit the others.
        """
        ...

    def protocol(self) -> dict[str, str | int | float]:
        """What must agree for two results to be compared; JSON-able."""
        ...


@runtime_checkable
class Counted(Protocol):
    """A stream that knows how many tasks it has before any is made."""

    @property
    def n_tasks(self) -> int:
        """`len(make_tasks())`."""
        ...


@runtime_checkable
class Separable(Protocol):
    """A stream whose tasks can be taken one by one."""

    def alone(self, index: int) -> Stream:
        """The stream of one of its tasks alone, under the same protocol."""
        ...


@runtime_checkable
class Extensible(Protocol):
    """A stream that can be cut short and take another task."""

    def followed_by(self, count: int, env: str, text: str | None) -> Stream:
        """The stream of the first `count` tasks and one more.

        One whose tasks may say by which return they are judged takes `success_return` and
        `return_range` as keywords, too, as `Gymnasium` does; `adapt` looks for them.

        Args:
            count: 0 gives the new task alone.
            env: of the new task.
            text: of the new task; None: the shipped one.

        Raises:
            RecipeError: no such environment, or one that needs a text.
        """
        ...


@dataclass(frozen=True)
class CW10:
    """Continual World's ten tasks on Meta-World v3, one after the other.

    Wołczyk et al. 2021, arXiv 2105.10919.  They used Meta-World v1; here observations have 39
    numbers and success has the thresholds of v3, so the results are a protocol of their own.

    Args:
        horizon: steps per episode, at least 1; Continual World has 200, Meta-World itself 500.
        reward_version: `v2` is 0 to 10 per step.  `v1` is the older reward as Meta-World 3.1.1
            still computes it, up to some thousands; it hardly pays for success in stick-pull-v3
            and window-close-v3.  Success is judged alike with both.
        action_repeat: environment steps that every action is held for, in training and evaluation;
            it divides the horizon.  All that counts steps goes on counting environment steps.
        phrasings: whether each task is taught three shipped phrasings besides its text.
        together: tasks that are learned at once, episode by episode in turn, by one policy that
            observes which it is; all of them: multi-task learning.  The budget of `steps_per_task`
            is each task's still.
    """

    horizon: int = 200
    reward_version: Literal["v1", "v2"] = "v2"
    action_repeat: int = 1
    phrasings: bool = False
    together: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        check_horizon(self)
        check_together(self, texts.CW10)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(texts.CW10)

    def make_tasks(self) -> tuple[Task, ...]:
        """Ten tasks."""
        return _metaworld_tasks(self, map(TaskEntry, texts.CW10))

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, rewards, horizon and tasks."""
        return _metaworld_protocol("cw10", self)

    def alone(self, index: int) -> MetaWorld:
        """One of the tasks."""
        return _metaworld_alone(self, TaskEntry(texts.CW10[index]))

    def followed_by(self, count: int, env: str, text: str | None) -> Stream:
        """See `Extensible`."""
        return _followed_by(self, map(TaskEntry, texts.CW10), count, env, text)


@dataclass(frozen=True)
class CW20:
    """Continual World's ten tasks on Meta-World v3, twice.

    Args:
        horizon: as for `cw10`.
        reward_version: as for `cw10`.
        action_repeat: as for `cw10`.
        phrasings: as for `cw10`.
        returning: what a second visit is: a `new` task (Continual World's), the `same` task, which
            goes on, or a `recall` of its policy without training.
    """

    horizon: int = 200
    reward_version: Literal["v1", "v2"] = "v2"
    action_repeat: int = 1
    phrasings: bool = False
    returning: Returning = "new"

    def __post_init__(self) -> None:
        check_fields(self)
        check_horizon(self)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return 2 * len(texts.CW10)

    def make_tasks(self) -> tuple[Task, ...]:
        """Twenty tasks."""
        return _metaworld_tasks(self, map(TaskEntry, 2 * texts.CW10))

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, rewards, horizon and tasks."""
        return _metaworld_protocol("cw20", self)

    def alone(self, index: int) -> MetaWorld:
        """One of the tasks."""
        return _metaworld_alone(self, TaskEntry((2 * texts.CW10)[index]))

    def followed_by(self, count: int, env: str, text: str | None) -> Stream:
        """See `Extensible`."""
        return _followed_by(self, map(TaskEntry, 2 * texts.CW10), count, env, text)


@dataclass(frozen=True)
class MetaWorld:
    """Any list of Meta-World v3 tasks.

    Args:
        tasks: `{env, text}`, or the name alone for the shipped text.
        horizon: as for `cw10`.
        reward_version: as for `cw10`; the 50 tasks differ in how well their v1 rewards work.
        action_repeat: as for `cw10`.
        phrasings: as for `cw10`.
        returning: as for `cw20`, of tasks whose text has come before.
        together: as for `cw10`.
    """

    tasks: tuple[str | TaskEntry, ...]
    horizon: int = 200
    reward_version: Literal["v1", "v2"] = "v2"
    action_repeat: int = 1
    phrasings: bool = False
    returning: Returning = "new"
    together: int = 1

    def __post_init__(self) -> None:
        entries = checked_entries(self, TaskEntry)
        object.__setattr__(self, "tasks", entries)
        check_fields(self)
        for i, entry in enumerate(entries):
            if entry.env not in texts.TEXTS:
                raise RecipeError(
                    f"MetaWorld.tasks[{i}].env: expected a Meta-World v3 task, got "
                    f"{entry.env!r}. {suggest(entry.env, texts.TEXTS)}"
                )
        check_horizon(self)
        check_together(self, [entry.env for entry in entries], self.returning)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.tasks)

    def make_tasks(self) -> tuple[Task, ...]:
        """The tasks listed."""
        return _metaworld_tasks(self, cast("tuple[TaskEntry, ...]", self.tasks))

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, rewards, horizon and tasks."""
        return _metaworld_protocol("metaworld", self)

    def alone(self, index: int) -> MetaWorld:
        """One of the tasks."""
        return replace(self, tasks=(self.tasks[index],), returning="new", together=1)

    def followed_by(self, count: int, env: str, text: str | None) -> Stream:
        """See `Extensible`."""
        entries = cast("tuple[TaskEntry, ...]", self.tasks)
        return _followed_by(self, entries, count, env, text)


def _metaworld_alone(stream: CW10 | CW20, entry: TaskEntry) -> MetaWorld:
    return MetaWorld(
        (entry,), stream.horizon, stream.reward_version, stream.action_repeat, stream.phrasings
    )


def _together(stream: CW10 | CW20 | MetaWorld) -> int:
    return 1 if isinstance(stream, CW20) else stream.together


def _returning(stream: CW10 | CW20 | MetaWorld) -> Returning:
    return "new" if isinstance(stream, CW10) else stream.returning


def _followed_by(
    stream: CW10 | CW20 | MetaWorld,
    entries: Iterable[TaskEntry],
    count: int,
    env: str,
    text: str | None,
) -> MetaWorld:
    tasks = (*list(entries)[:count], TaskEntry(env, text))
    settings = stream.horizon, stream.reward_version, stream.action_repeat
    return MetaWorld(tasks, *settings, stream.phrasings, _returning(stream))


def _texts(
    stream: CW10 | CW20 | MetaWorld, entries: Iterable[TaskEntry]
) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (e.env, shipped_texts(e.env, stream.phrasings) if e.text is None else phrased(e.text))
        for e in entries
    ]


def _metaworld_tasks(
    stream: CW10 | CW20 | MetaWorld, entries: Iterable[TaskEntry]
) -> tuple[Task, ...]:
    tasks = _texts(stream, entries)
    settings = stream.horizon, stream.reward_version, stream.action_repeat
    builds = [partial(_metaworld, env, *settings) for env, _ in tasks]
    horizons = [stream.horizon] * len(tasks)
    rest = _returning(stream), _together(stream)
    return named_tasks(tasks, builds, horizons, stream.action_repeat, *rest)


def _metaworld_protocol(name: str, stream: CW10 | CW20 | MetaWorld) -> dict[str, Any]:
    return {
        "stream": name,
        "environment": f"metaworld {version('metaworld')}",
        "simulator": f"mujoco {version('mujoco')}",
        "reward_version": stream.reward_version,
        "horizon": stream.horizon,
        "action_repeat": stream.action_repeat,
        **returning_fact(_returning(stream)),
        **task_facts([(task.env, task.texts) for task in stream.make_tasks()]),
    }


# What a task keeps to build its environment: functions by name, so that tasks can be pickled.
def _metaworld(
    env: str, horizon: int, reward_version: Any, repeat: int, num_envs: int | None, seed: int
) -> EnvBase:
    from cotasp.tasks.metaworld import MetaWorldEnv

    return MetaWorldEnv(env, horizon, reward_version, num_envs, seed, repeat)
