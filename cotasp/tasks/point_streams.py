"""Streams of goals for a point in the plane, learnt in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

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
from cotasp.tasks.orders import Order, alone, angles, check_arc, check_family, taken
from cotasp.tasks.task import Returning, Task
from cotasp.tasks.texts import shipped_texts

if TYPE_CHECKING:
    from torchrl.envs import EnvBase

POINT = "cotasp point 1"  # count up when PointEnv changes


@dataclass(frozen=True)
class Point:
    """A point to be moved in the plane to a goal that only the text tells; learnt in seconds.

    Args:
        goals: one task each: right, left, top, bottom, upper-right, lower-left, upper-left,
            lower-right, centre; or `{env, text}`, one of these under another text.
        horizon: steps per episode, at least 1; the longest way takes about 12.
        action_repeat: environment steps that every action is held for; it divides the horizon.
        phrasings: as for `cw10`.
        returning: as for `cw20`, of goals that have come before.
        together: as for `cw10`.
    """

    goals: tuple[str | TaskEntry, ...] = ("right", "left", "top", "bottom")
    horizon: int = 30
    action_repeat: int = 1
    phrasings: bool = False
    returning: Returning = "new"
    together: int = 1

    def __post_init__(self) -> None:
        entries = checked_entries(self, TaskEntry, "goals")
        goals = tuple(each.env if each.text is None else each for each in entries)
        object.__setattr__(self, "goals", goals)
        check_fields(self)
        for i, (goal, _) in enumerate(self._entries()):
            if goal not in texts.GOALS:
                raise RecipeError(
                    f"Point.goals[{i}]: expected a goal, got {goal!r}. {suggest(goal, texts.GOALS)}"
                )
        check_horizon(self)
        check_together(self, [goal for goal, _ in self._entries()], self.returning)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self._entries())

    def make_tasks(self) -> tuple[Task, ...]:
        """One task per goal."""
        builds = [
            partial(_point, texts.GOALS[goal][:2], self.horizon, self.action_repeat)
            for goal, _ in self._entries()
        ]
        horizons = [self.horizon] * len(builds)
        rest = self.action_repeat, self.returning, self.together
        return named_tasks(self._texts(), builds, horizons, *rest)

    def protocol(self) -> dict[str, str | int | float]:
        """Horizon and tasks."""
        return {
            "stream": "point",
            "environment": POINT,
            "horizon": self.horizon,
            "action_repeat": self.action_repeat,
            **returning_fact(self.returning),
            **task_facts(self._texts()),
        }

    def alone(self, index: int) -> Point:
        """One of the goals."""
        return replace(self, goals=(self.goals[index],), returning="new", together=1)

    def followed_by(self, count: int, env: str, text: str | None) -> Point:
        """See `cotasp.tasks.streams.Extensible`."""
        goal = env if text is None else TaskEntry(env, text)
        return replace(self, goals=(*self.goals[:count], goal))

    def _entries(self) -> list[tuple[str, str | tuple[str, ...] | None]]:
        """Goals and their texts; None: the shipped ones."""
        return [(g.env, g.text) if isinstance(g, TaskEntry) else (g, None) for g in self.goals]

    def _texts(self) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (goal, shipped_texts(goal, self.phrasings) if text is None else phrased(text))
            for goal, text in self._entries()
        ]


@dataclass(frozen=True)
class PointGoals:
    """A point to be moved in the plane to goals on a circle; see `point`.

    Args:
        count: tasks, one goal each.
        radius: of the circle, in (0, 1].
        arc: degrees of the circle on which goals lie; 90: tasks are alike, 360: some are opposite.
        order: `"random"`: goals are drawn independently of each other; `"sweep"`: they go round,
            so that the next lies beyond all that were seen.
        seed: of the goals.
        only: number of the one task that is taken alone, from 0; None: all.
        horizon: steps per episode, at least 1; the longest way takes about 12.
        action_repeat: environment steps that every action is held for; it divides the horizon.
    """

    count: int = 8
    radius: float = 0.8
    arc: float = 360.0
    order: Order = "random"
    seed: int = 0
    only: int | None = None
    horizon: int = 30
    action_repeat: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        check_family(self, self.count, self.seed, self.only)
        check_arc(self, self.arc)
        if not 0 < self.radius <= 1:
            raise RecipeError(f"PointGoals.radius: expected in (0, 1], got {self.radius:g}")
        check_horizon(self)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self._angles())

    def make_tasks(self) -> tuple[Task, ...]:
        """One task per goal."""
        builds = []
        for angle in self._angles():
            radians = math.radians(angle)
            goal = self.radius * math.cos(radians), self.radius * math.sin(radians)
            builds.append(partial(_point, goal, self.horizon, self.action_repeat))
        return named_tasks(self._texts(), builds, [self.horizon] * len(builds), self.action_repeat)

    def protocol(self) -> dict[str, str | int | float]:
        """Horizon and tasks."""
        return {
            "stream": "point_goals",
            "environment": POINT,
            "radius": self.radius,
            "order": self.order,
            "horizon": self.horizon,
            "action_repeat": self.action_repeat,
            **task_facts(self._texts()),
        }

    def alone(self, index: int) -> PointGoals:
        """One of the tasks."""
        return alone(self, index)

    def _angles(self) -> list[float]:
        return taken(angles(self.count, self.arc, self.order, self.seed), self.only)

    def _texts(self) -> list[tuple[str, tuple[str, ...]]]:
        names = [f"{angle:g}" for angle in self._angles()]
        return [(f"goal-{name}", (f"Go to the goal at {name} degrees.",)) for name in names]


# by name, so that tasks can be pickled
def _point(
    goal: tuple[float, float], horizon: int, repeat: int, num_envs: int | None, seed: int
) -> EnvBase:
    from cotasp.tasks.point import PointEnv

    return PointEnv(goal, horizon, num_envs, seed, repeat)
