"""Streams of one robot's tasks: families of rewards that differ in a parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.tasks.entries import check_horizon, named_tasks, task_facts
from cotasp.tasks.orders import Order, alone, angles, check_arc, check_family, parameters, taken
from cotasp.tasks.task import Task

if TYPE_CHECKING:
    from torchrl.envs import EnvBase


@dataclass(frozen=True)
class CheetahVelocity:
    """HalfCheetah is to run at a velocity: reward -|v_x - v*| - 0.05 |a|².

    Args:
        count: tasks, one velocity each.
        low, high: between which velocities lie, in m/s.
        order: `"random"`: drawn independently; `"sweep"`: from low to high.
        seed: of the velocities.
        only: number of the one task that is taken alone, from 0; None: all.
        horizon: steps per episode, at least 1.
        action_repeat: environment steps that every action is held for; it divides the horizon.
    """

    count: int = 10
    low: float = 0.0
    high: float = 3.0
    order: Order = "random"
    seed: int = 0
    only: int | None = None
    horizon: int = 200
    action_repeat: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        check_family(self, self.count, self.seed, self.only)
        if not self.low < self.high:
            raise RecipeError(
                f"CheetahVelocity.high: expected above low, {self.low:g}, got {self.high:g}"
            )
        check_horizon(self)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self._velocities())

    def make_tasks(self) -> tuple[Task, ...]:
        """One task per velocity."""
        return _tasks(self, "cheetah_velocity", self._velocities(), self._texts())

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, horizon and tasks."""
        return _protocol(self, "cheetah_velocity", self._texts()) | {"order": self.order}

    def alone(self, index: int) -> CheetahVelocity:
        """One of the tasks."""
        return alone(self, index)

    def _velocities(self) -> list[float]:
        drawn = parameters(self.count, self.low, self.high, self.order, self.seed, 3)
        return taken(drawn, self.only)

    def _texts(self) -> list[tuple[str, tuple[str, ...]]]:
        names = [f"{v:g}" for v in self._velocities()]
        return [(f"velocity-{v}", (f"Run at {v} metres per second.",)) for v in names]


@dataclass(frozen=True)
class CheetahDirection:
    """HalfCheetah is to run forward, then backward: reward ±v_x - 0.05 |a|².

    Args:
        count: tasks; beyond two, the directions take turns.
        only: number of the one task that is taken alone, from 0; None: all.
        horizon: steps per episode, at least 1.
        action_repeat: environment steps that every action is held for; it divides the horizon.
    """

    count: int = 2
    only: int | None = None
    horizon: int = 200
    action_repeat: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        check_family(self, self.count, 0, self.only)
        check_horizon(self)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self._turns())

    def make_tasks(self) -> tuple[Task, ...]:
        """One task per turn."""
        signs = [1.0 - 2.0 * turn for turn in self._turns()]
        return _tasks(self, "cheetah_direction", signs, self._texts())

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, horizon and tasks."""
        return _protocol(self, "cheetah_direction", self._texts())

    def alone(self, index: int) -> CheetahDirection:
        """One of the tasks."""
        return alone(self, index)

    def _texts(self) -> list[tuple[str, tuple[str, ...]]]:
        both = ("forward", ("Run forward.",)), ("backward", ("Run backward.",))
        return [both[turn] for turn in self._turns()]

    def _turns(self) -> list[int]:
        return taken([i % 2 for i in range(self.count)], self.only)


@dataclass(frozen=True)
class AntGoal:
    """Ant is to reach a goal on an arc of a circle and to stay there.

    Reward 4 - |x - g_x| - |y - g_y| - 0.005 |a|² - 0.0005 |clip(contact forces, -1, 1)|² + 0.05.

    Args:
        count: tasks, one goal each.
        radius: of the circle, in m.
        arc: degrees on which goals lie; the family's is 90.
        order: `"random"`: drawn independently; `"sweep"`: from one end to the other.
        seed: of the goals.
        gear: of the motors; the family's 30 tumbles less than Gymnasium's 150.
        only: number of the one task that is taken alone, from 0; None: all.
        horizon: steps per episode, at least 1.
        action_repeat: environment steps that every action is held for; it divides the horizon.
    """

    count: int = 10
    radius: float = 2.0
    arc: float = 90.0
    order: Order = "random"
    seed: int = 0
    gear: float = 30.0
    only: int | None = None
    horizon: int = 200
    action_repeat: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        check_family(self, self.count, self.seed, self.only)
        check_arc(self, self.arc)
        for name in ("radius", "gear"):
            if getattr(self, name) <= 0:
                raise RecipeError(f"AntGoal.{name}: expected above 0, got {getattr(self, name):g}")
        check_horizon(self)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self._angles())

    def make_tasks(self) -> tuple[Task, ...]:
        """One task per goal."""
        turns = [math.radians(angle) for angle in self._angles()]
        goals = [(self.radius * math.cos(t), self.radius * math.sin(t)) for t in turns]
        return _tasks(self, "ant_goal", goals, self._texts(), self.gear)

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, horizon and tasks."""
        facts = {"radius": self.radius, "order": self.order, "gear": self.gear}
        return _protocol(self, "ant_goal", self._texts()) | facts

    def alone(self, index: int) -> AntGoal:
        """One of the tasks."""
        return alone(self, index)

    def _angles(self) -> list[float]:
        return taken(angles(self.count, self.arc, self.order, self.seed), self.only)

    def _texts(self) -> list[tuple[str, tuple[str, ...]]]:
        names = [f"{angle:g}" for angle in self._angles()]
        return [(f"goal-{name}", (f"Walk to the goal at {name} degrees.",)) for name in names]


@dataclass(frozen=True)
class AntDirection:
    """Ant is to walk in a direction t.

    Reward v · (cos t, sin t) - 0.5 |a|² - 0.0005 |clip(contact forces, -1, 1)|² + 1.

    Args:
        count: tasks, one direction each.
        arc: degrees in which directions lie.
        order: `"random"`: drawn independently; `"sweep"`: turning.
        seed: of the directions.
        only: number of the one task that is taken alone, from 0; None: all.
        horizon: steps per episode, at least 1.
        action_repeat: environment steps that every action is held for; it divides the horizon.
    """

    count: int = 10
    arc: float = 360.0
    order: Order = "random"
    seed: int = 0
    only: int | None = None
    horizon: int = 200
    action_repeat: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        check_family(self, self.count, self.seed, self.only)
        check_arc(self, self.arc)
        check_horizon(self)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self._angles())

    def make_tasks(self) -> tuple[Task, ...]:
        """One task per direction."""
        turns = [math.radians(angle) for angle in self._angles()]
        return _tasks(self, "ant_direction", turns, self._texts())

    def protocol(self) -> dict[str, str | int | float]:
        """Simulator, horizon and tasks."""
        return _protocol(self, "ant_direction", self._texts()) | {"order": self.order}

    def alone(self, index: int) -> AntDirection:
        """One of the tasks."""
        return alone(self, index)

    def _angles(self) -> list[float]:
        return taken(angles(self.count, self.arc, self.order, self.seed), self.only)

    def _texts(self) -> list[tuple[str, tuple[str, ...]]]:
        names = [f"{angle:g}" for angle in self._angles()]
        return [(f"direction-{name}", (f"Walk towards {name} degrees.",)) for name in names]


def _tasks(
    stream: Any,
    family: str,
    of_tasks: Sequence[Any],
    texts: list[tuple[str, tuple[str, ...]]],
    gear: float | None = None,
) -> tuple[Task, ...]:
    horizon, repeat = stream.horizon, stream.action_repeat
    builds = [partial(_family, family, p, horizon, gear, repeat) for p in of_tasks]
    return named_tasks(texts, builds, [horizon] * len(texts), repeat)


def _protocol(
    stream: Any, family: str, texts: list[tuple[str, tuple[str, ...]]]
) -> dict[str, str | int | float]:
    return {
        "stream": family,
        "environment": f"gymnasium {version('gymnasium')}",
        "simulator": f"mujoco {version('mujoco')}",
        "horizon": stream.horizon,
        "action_repeat": stream.action_repeat,
        **task_facts(texts),
    }


# by name, so that tasks can be pickled
def _family(
    family: str,
    parameter: Any,
    horizon: int,
    gear: float | None,
    repeat: int,
    num_envs: int | None,
    seed: int,
) -> EnvBase:
    from cotasp.tasks.mujoco import FamilyEnv

    return FamilyEnv(family, parameter, horizon, gear, num_envs, seed, repeat)
