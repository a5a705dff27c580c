"""A stream: goals for a point in the plane, one task each.

For environments of Gymnasium you need no plug-in: `stream: {name: gymnasium, packages: [yours]}`.
"""

from dataclasses import dataclass
from functools import partial

from cotasp.tasks import PointEnv, Task

GOALS = {
    "north": ((0.0, 0.8), "Go north."),
    "south": ((0.0, -0.8), "Go south."),
}


def build(goal, horizon, num_envs, seed):
    """The environment; a function by name, since tasks go to other processes."""
    return PointEnv(goal, horizon, num_envs, seed)


@dataclass(frozen=True)
class Example:
    """To the north, then to the south.

    Args:
        horizon: steps per episode, at least 1.
    """

    horizon: int = 30

    @property
    def action_repeat(self):
        return 1

    def make_tasks(self):
        return tuple(
            Task(name, text, name, partial(build, goal, self.horizon), self.horizon)
            for name, (goal, text) in GOALS.items()
        )

    def protocol(self):
        tasks = "; ".join(f"{name}: {text}" for name, (_, text) in GOALS.items())
        return {"stream": "Example", "horizon": self.horizon, "tasks": tasks}
