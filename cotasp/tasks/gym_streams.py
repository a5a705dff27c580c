"""The stream of any Gymnasium environments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.tasks.entries import (
    GymEntry,
    check_horizon,
    check_repeat,
    check_together,
    checked_entries,
    named_tasks,
    one_or_all,
    phrased,
    returning_fact,
    task_facts,
)
from cotasp.tasks.task import Returning, Task

if TYPE_CHECKING:
    from torchrl.envs import EnvBase


@dataclass(frozen=True)
class Gymnasium:
    """Any list of Gymnasium environments with Box spaces, each with a text.

    They share one network, so observations and actions must have the same lengths in all.

    Args:
        tasks: `{env, text}`, and `success_return` or `return_range` where the environment reports
            no success; `env` may be `module:id`.
        horizon: steps per episode, at least 1; None keeps each environment's own limit.
        action_repeat: environment steps that every action is held for; it divides the horizon.
            Where an episode terminates within them, they count as whole ones.
        packages: modules that register environments; they are imported, so they are trusted as
            plug-ins are.
        returning: as for `cw20`, of tasks whose text has come before.
        together: as for `cw10`.
    """

    tasks: tuple[GymEntry, ...]
    horizon: int | None = None
    action_repeat: int = 1
    packages: tuple[str, ...] = ()
    returning: Returning = "new"
    together: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", checked_entries(self, GymEntry))
        check_fields(self)
        object.__setattr__(self, "packages", tuple(self.packages))
        first: dict[str, GymEntry] = {}
        for i, entry in enumerate(self.tasks):
            before = first.setdefault(entry.name, entry)
            for field in ("env", "success_return", "return_range"):
                expected, got = getattr(before, field), getattr(entry, field)
                if got != expected:
                    raise RecipeError(
                        f"Gymnasium.tasks[{i}].{field}: expected {expected} as in the first visit "
                        f"of {entry.name}, got {got}; what counts as success is the "
                        f"environment's, so register it under another id for another"
                    )
        check_horizon(self)
        check_together(self, [entry.name for entry in self.tasks], self.returning)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.tasks)

    def make_tasks(self) -> tuple[Task, ...]:
        """The tasks listed; each environment is built once, to see that they fit together."""
        first = self._facts(0)[:2]
        for i, entry in enumerate(self.tasks):
            *sizes, horizon = self._facts(i)
            check_repeat(self, horizon)
            if sizes != [*first]:
                raise RecipeError(
                    f"Gymnasium.tasks[{i}].env: expected {first[0]} observations and {first[1]} "
                    f"actions as in {self.tasks[0].env}, got {sizes[0]} and {sizes[1]} in "
                    f"{entry.env}; list environments of equal shapes"
                )
        builds = [
            partial(_gymnasium, entry, self.horizon, self.packages, self.action_repeat)
            for entry in self.tasks
        ]
        horizons = [self._facts(i)[2] for i in range(len(self.tasks))]
        tasks = [(e.name, phrased(e.text)) for e in self.tasks]
        rest = self.action_repeat, self.returning, self.together
        named = named_tasks(tasks, builds, horizons, *rest)
        return tuple(replace(t, return_range=e.return_range) for t, e in zip(named, self.tasks))

    def followed_by(
        self,
        count: int,
        env: str,
        text: str | None,
        *,
        success_return: float | None = None,
        return_range: tuple[float, float] | None = None,
    ) -> Gymnasium:
        """See `cotasp.tasks.streams.Extensible`.

        Args:
            count: of the tasks that stay.
            env: of the new task; one of the stream's is judged as it is there.
            text: of the new task.
            success_return: as of `GymEntry`.
            return_range: as of `GymEntry`.

        Raises:
            RecipeError: no text; or neither of the two for a new environment, where every task
                has one.
        """
        if text is None:
            raise RecipeError(
                f"Gymnasium: expected a text for {env}, got none; say what it asks for"
            )
        new = GymEntry(env, text, success_return, return_range)
        known = {entry.name: entry for entry in self.tasks}.get(new.name)
        rules = [(entry.success_return, entry.return_range) for entry in self.tasks]
        if success_return is None and return_range is None:
            if known is not None:
                new = replace(known, text=text)
            elif (None, None) not in rules:
                raise RecipeError(
                    f"Gymnasium: expected success_return or return_range for {env}, as every task "
                    f"of this stream has one, got neither; say by which return it is judged, as "
                    f"by --return-range or --success-return"
                )
        return replace(self, tasks=(*self.tasks[:count], new))

    def protocol(self) -> dict[str, str | int | float]:
        """Gymnasium's version, horizons, what counts as success, and tasks."""
        by_return = all(entry.return_range is not None for entry in self.tasks)
        return {
            **({"success_rule": "normalised return of the episode"} if by_return else {}),
            "stream": "gymnasium",
            "environment": f"gymnasium {version('gymnasium')}",
            "horizon": one_or_all(self._facts(i)[2] for i in range(len(self.tasks))),
            "action_repeat": self.action_repeat,
            "success_return": one_or_all(entry.success_return for entry in self.tasks),
            "return_range": one_or_all(entry.return_range for entry in self.tasks),
            **returning_fact(self.returning),
            **task_facts([(entry.name, phrased(entry.text)) for entry in self.tasks]),
        }

    def alone(self, index: int) -> Gymnasium:
        """One of the tasks."""
        return replace(self, tasks=(self.tasks[index],), returning="new", together=1)

    def _facts(self, index: int) -> tuple[int, int, int]:
        from cotasp.tasks.gym_making import facts

        try:
            return facts(self.tasks[index].env, self.horizon, self.packages)
        except RecipeError as error:
            raise RecipeError(f"Gymnasium.tasks[{index}].env: {error}") from error


# by name, so that tasks can be pickled
def _gymnasium(
    entry: GymEntry,
    horizon: int | None,
    packages: tuple[str, ...],
    repeat: int,
    num_envs: int | None,
    seed: int,
) -> EnvBase:
    from cotasp.tasks.gym import GymnasiumEnv

    by_return = entry.return_range is not None
    settings = entry.success_return, num_envs, seed, repeat, packages, by_return
    return GymnasiumEnv(entry.env, horizon, *settings)
