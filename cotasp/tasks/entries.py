"""Lists of tasks as recipes give them, and what streams make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cotasp.errors import RecipeError
from cotasp.tasks.task import Task

if TYPE_CHECKING:
    from torchrl.envs import EnvBase


@dataclass(frozen=True)
class TaskEntry:
    """One item of a list of Meta-World tasks.

    Args:
        env: its name, as `hammer-v3`.
        text: what the task is, in words; None takes the shipped text.
    """

    env: str
    text: str | None = None


@dataclass(frozen=True)
class GymEntry:
    """One item of a list of Gymnasium tasks.

    Args:
        env: Gymnasium's id, as `Pendulum-v1`; not `module:id`, for a recipe imports no modules.
        text: what the task is, in words.
        success_return: return at which an episode counts as solved, where the environment does
            not report success itself; None: never.
    """

    env: str
    text: str
    success_return: float | None = None

    def __post_init__(self) -> None:
        if ":" in self.env:
            raise RecipeError(
                f"env: expected an id without a module, got {self.env!r}: a recipe imports none; "
                f"register it in a plug-in (entry point in the group cotasp.stream), or import it "
                f"in a program of your own that calls cotasp.continual.run"
            )


def checked_entries(stream: Any, kind: type[Any]) -> tuple[Any, ...]:
    """The stream's tasks as entries, whose texts say something."""
    place = f"{type(stream).__name__}.tasks"
    entries: list[Any] = []
    item: Any
    for i, item in enumerate(stream.tasks):
        if isinstance(item, Mapping):
            item = kind(**item)
        elif isinstance(item, str) and kind is TaskEntry:
            item = TaskEntry(item)
        if not isinstance(item, kind):
            raise RecipeError(f"{place}[{i}]: expected a {kind.__name__}, got {item!r}")
        if item.text is not None and not item.text.strip():
            raise RecipeError(
                f"{place}[{i}].text: expected words, got {item.text!r}; say what "
                f"{item.env} asks for, in a sentence"
            )
        entries.append(item)
    if not entries:
        raise RecipeError(f"{place}: expected at least one task, got none; list one")
    return tuple(entries)


def named_tasks(
    tasks: Sequence[tuple[str, str]],
    builds: Sequence[Callable[..., EnvBase]],
    horizons: Sequence[int],
    action_repeat: int,
) -> tuple[Task, ...]:
    """Tasks from (env, text) pairs; from the second visit of an env on, `#2`, `#3` ... is added."""
    visits: dict[str, int] = {}
    named = []
    for (env, text), build, horizon in zip(tasks, builds, horizons):
        visits[env] = visits.get(env, 0) + 1
        name = env if visits[env] == 1 else f"{env}#{visits[env]}"
        named.append(Task(name, text, env, build, horizon, action_repeat))
    return tuple(named)


def task_facts(tasks: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Environments in order, and a hash of their texts."""
    written = "\n".join(text for _, text in tasks)
    return {
        "tasks": ", ".join(env for env, _ in tasks),
        "texts": hashlib.sha256(written.encode()).hexdigest()[:16],
    }
