"""Streams: which tasks come, in which order, and the facts that make results comparable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from cotasp.errors import RecipeError
from cotasp.registry import suggest
from cotasp.tasks import texts
from cotasp.tasks.entries import (
    GymEntry,
    TaskEntry,
    checked_entries,
    named_tasks,
    phrased,
    task_facts,
)
from cotasp.tasks.task import Task

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
    """

    horizon: int = 200
    reward_version: Literal["v1", "v2"] = "v2"
    action_repeat: int = 1
    phrasings: bool = False

    def __post_init__(self) -> None:
        _check_metaworld(self)

    def make_tasks(self) -> tuple[Task, ...]:
        """Ten tasks."""
        return _metaworld_tasks(self, map(TaskEntry, texts.CW10))

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, rewards, horizon and tasks."""
        return _metaworld_protocol("cw10", self)


@dataclass(frozen=True)
class CW20:
    """Continual World's ten tasks on Meta-World v3, twice; second visits are new tasks.

    Args:
        horizon: as for `cw10`.
        reward_version: as for `cw10`.
        action_repeat: as for `cw10`.
        phrasings: as for `cw10`.
    """

    horizon: int = 200
    reward_version: Literal["v1", "v2"] = "v2"
    action_repeat: int = 1
    phrasings: bool = False

    def __post_init__(self) -> None:
        _check_metaworld(self)

    def make_tasks(self) -> tuple[Task, ...]:
        """Twenty tasks."""
        return _metaworld_tasks(self, map(TaskEntry, 2 * texts.CW10))

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, rewards, horizon and tasks."""
        return _metaworld_protocol("cw20", self)


@dataclass(frozen=True)
class MetaWorld:
    """Any list of Meta-World v3 tasks.

    Args:
        tasks: `{env, text}`, or the name alone for the shipped text.
        horizon: as for `cw10`.
        reward_version: as for `cw10`; the 50 tasks differ in how well their v1 rewards work.
        action_repeat: as for `cw10`.
        phrasings: as for `cw10`.
    """

    tasks: tuple[str | TaskEntry, ...]
    horizon: int = 200
    reward_version: Literal["v1", "v2"] = "v2"
    action_repeat: int = 1
    phrasings: bool = False

    def __post_init__(self) -> None:
        entries = checked_entries(self, TaskEntry)
        object.__setattr__(self, "tasks", entries)
        for i, entry in enumerate(entries):
            if entry.env not in texts.TEXTS:
                raise RecipeError(
                    f"MetaWorld.tasks[{i}].env: expected a Meta-World v3 task, got "
                    f"{entry.env!r}. {suggest(entry.env, texts.TEXTS)}"
                )
        _check_metaworld(self)

    def make_tasks(self) -> tuple[Task, ...]:
        """The tasks listed."""
        return _metaworld_tasks(self, cast("tuple[TaskEntry, ...]", self.tasks))

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, rewards, horizon and tasks."""
        return _metaworld_protocol("metaworld", self)


@dataclass(frozen=True)
class Gymnasium:
    """Any list of Gymnasium environments with Box spaces, each with a text.

    They share one network, so observations and actions must have the same lengths in all.

    Args:
        tasks: `{env, text, success_return}`.
        horizon: steps per episode, at least 1; None keeps each environment's own limit.
        action_repeat: environment steps that every action is held for; it divides the horizon.
            Where an episode terminates within them, they count as whole ones.
    """

    tasks: tuple[GymEntry, ...]
    horizon: int | None = None
    action_repeat: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", checked_entries(self, GymEntry))
        solved: dict[str, float | None] = {}
        for i, entry in enumerate(self.tasks):
            if solved.setdefault(entry.env, entry.success_return) != entry.success_return:
                raise RecipeError(
                    f"Gymnasium.tasks[{i}].success_return: expected {solved[entry.env]} as in "
                    f"the first visit of {entry.env}, got {entry.success_return}"
                )
        _check_horizon(self)

    def make_tasks(self) -> tuple[Task, ...]:
        """The tasks listed; each environment is built once, to see that they fit together."""
        first = self._facts(0)[:2]
        for i, entry in enumerate(self.tasks):
            *sizes, horizon = self._facts(i)
            _check_repeat(self, horizon)
            if sizes != [*first]:
                raise RecipeError(
                    f"Gymnasium.tasks[{i}].env: expected {first[0]} observations and {first[1]} "
                    f"actions as in {self.tasks[0].env}, got {sizes[0]} and {sizes[1]} in "
                    f"{entry.env}; list environments of equal shapes"
                )
        builds = [
            partial(_gymnasium, entry.env, self.horizon, entry.success_return, self.action_repeat)
            for entry in self.tasks
        ]
        horizons = [self._facts(i)[2] for i in range(len(self.tasks))]
        tasks = [(e.env, phrased(e.text)) for e in self.tasks]
        return named_tasks(tasks, builds, horizons, self.action_repeat)

    def protocol(self) -> dict[str, str | int | float]:
        """Gymnasium's version, horizons, what counts as success, and tasks."""
        return {
            "stream": "gymnasium",
            "environment": f"gymnasium {version('gymnasium')}",
            "horizon": _one_or_all(self._facts(i)[2] for i in range(len(self.tasks))),
            "action_repeat": self.action_repeat,
            "success_return": _one_or_all(entry.success_return for entry in self.tasks),
            **task_facts([(entry.env, phrased(entry.text)) for entry in self.tasks]),
        }

    def _facts(self, index: int) -> tuple[int, int, int]:
        from cotasp.tasks.gym import facts

        try:
            return facts(self.tasks[index].env, self.horizon)
        except RecipeError as error:
            raise RecipeError(f"Gymnasium.tasks[{index}].env: {error}") from error


@dataclass(frozen=True)
class Point:
    """A point to be moved in the plane to a goal that only the text tells; learnt in seconds.

    Args:
        goals: one task each: right, left, top, bottom, upper-right, lower-left, upper-left,
            lower-right, centre.
        horizon: steps per episode, at least 1; the longest way takes about 12.
        action_repeat: environment steps that every action is held for; it divides the horizon.
        phrasings: as for `cw10`.
    """

    goals: tuple[str, ...] = ("right", "left", "top", "bottom")
    horizon: int = 30
    action_repeat: int = 1
    phrasings: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "goals", tuple(self.goals))
        if not self.goals:
            raise RecipeError("Point.goals: expected at least one goal, got none; name a goal")
        for i, goal in enumerate(self.goals):
            if goal not in texts.GOALS:
                raise RecipeError(
                    f"Point.goals[{i}]: expected a goal, got {goal!r}. {suggest(goal, texts.GOALS)}"
                )
        _check_horizon(self)

    def make_tasks(self) -> tuple[Task, ...]:
        """One task per goal."""
        builds = [
            partial(_point, texts.GOALS[goal][:2], self.horizon, self.action_repeat)
            for goal in self.goals
        ]
        return named_tasks(self._texts(), builds, [self.horizon] * len(builds), self.action_repeat)

    def protocol(self) -> dict[str, str | int | float]:
        """Horizon and tasks."""
        return {
            "stream": "point",
            "environment": "cotasp point 1",  # count up when PointEnv changes
            "horizon": self.horizon,
            "action_repeat": self.action_repeat,
            **task_facts(self._texts()),
        }

    def _texts(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(goal, shipped_texts(goal, self.phrasings)) for goal in self.goals]


def _one_or_all(values: Iterable[Any]) -> str:
    """What all tasks share, written once, so that a run of one task can be its baseline."""
    written = [str(value) for value in values]
    return written[0] if len(set(written)) == 1 else ", ".join(written)


def _check_horizon(stream: Any) -> None:
    if stream.horizon is not None and stream.horizon < 1:
        raise RecipeError(
            f"{type(stream).__name__}.horizon: expected at least 1 step, got {stream.horizon}"
        )
    _check_repeat(stream, stream.horizon)


def _check_repeat(stream: Any, horizon: int | None) -> None:
    """Raises RecipeError unless actions that are held that long fill an episode."""
    name, repeat = type(stream).__name__, stream.action_repeat
    if repeat < 1:
        raise RecipeError(f"{name}.action_repeat: expected at least 1, got {repeat}")
    if horizon is not None and horizon % repeat:
        fitting = max(n for n in range(1, repeat) if horizon % n == 0)
        raise RecipeError(
            f"{name}.action_repeat: expected a divisor of the {horizon} steps of an episode, got "
            f"{repeat}; use {fitting}, or another horizon"
        )


def _check_metaworld(stream: CW10 | CW20 | MetaWorld) -> None:
    _check_horizon(stream)
    if stream.reward_version not in ("v1", "v2"):
        raise RecipeError(
            f"{type(stream).__name__}.reward_version: expected 'v1' or 'v2', "
            f"got {stream.reward_version!r}"
        )


def shipped_texts(name: str, phrasings: bool) -> tuple[str, ...]:
    """The text of a Meta-World task or of a goal, and its taught phrasings if asked for."""
    text = texts.TEXTS[name] if name in texts.TEXTS else texts.GOALS[name][2]
    return (text, *(texts.phrasings(name) if phrasings else ()))


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
    return named_tasks(tasks, builds, [stream.horizon] * len(tasks), stream.action_repeat)


def _metaworld_protocol(name: str, stream: CW10 | CW20 | MetaWorld) -> dict[str, Any]:
    return {
        "stream": name,
        "environment": f"metaworld {version('metaworld')}",
        "simulator": f"mujoco {version('mujoco')}",
        "reward_version": stream.reward_version,
        "horizon": stream.horizon,
        "action_repeat": stream.action_repeat,
        **task_facts([(task.env, task.texts) for task in stream.make_tasks()]),
    }


# What a task keeps to build its environment: functions by name, so that tasks can be pickled.
def _metaworld(
    env: str, horizon: int, reward_version: Any, repeat: int, num_envs: int | None, seed: int
) -> EnvBase:
    from cotasp.tasks.metaworld import MetaWorldEnv

    return MetaWorldEnv(env, horizon, reward_version, num_envs, seed, repeat)


def _gymnasium(
    env: str,
    horizon: int | None,
    success_return: float | None,
    repeat: int,
    num_envs: int | None,
    seed: int,
) -> EnvBase:
    from cotasp.tasks.gym import GymnasiumEnv

    return GymnasiumEnv(env, horizon, success_return, num_envs, seed, repeat)


def _point(
    goal: tuple[float, float], horizon: int, repeat: int, num_envs: int | None, seed: int
) -> EnvBase:
    from cotasp.tasks.point import PointEnv

    return PointEnv(goal, horizon, num_envs, seed, repeat)
