"""Lists of tasks as recipes give them, and what streams make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.schema import build as built
from cotasp.tasks.sentences import checked_texts, normal_form
from cotasp.tasks.task import Returning, Task

if TYPE_CHECKING:
    from torchrl.envs import EnvBase


@dataclass(frozen=True)
class TaskEntry:
    """One item of a list of Meta-World tasks.

    Args:
        env: its name, as `hammer-v3`.
        text: what the task is, in words; None takes the shipped text.  Of several, the first is
            the task's own and the others are phrasings that are taught with it.
    """

    env: str
    text: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class GymEntry:
    """One item of a list of Gymnasium tasks.

    Args:
        env: Gymnasium's id, as `Pendulum-v1`, or `module:id`, which imports that module first.
        text: what the task is, in words; or several phrasings, as of `TaskEntry`.
        success_return: return from which an episode counts as solved at its end, where the
            environment does not report success itself; None: never.
        return_range: `[low, high]`: episodes are judged by their return instead, as low as 0 and
            as high as 1 and clipped in between, and all that speaks of success speaks of that.
    """

    env: str
    text: str | tuple[str, ...]
    success_return: float | None = None
    return_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.return_range is None:
            return
        object.__setattr__(self, "return_range", tuple(self.return_range))
        if self.success_return is not None:
            raise RecipeError(
                "return_range: expected it or success_return, got both; keep the one that counts"
            )
        low, high = self.return_range
        if not low < high:
            raise RecipeError(f"return_range: expected [low, high], got [{low}, {high}]")

    @property
    def name(self) -> str:
        """The id without its module."""
        return self.env.rpartition(":")[2]


def phrased(text: str | Sequence[str]) -> tuple[str, ...]:
    """The phrasings of a task that has one text or several; those of one normal form count once."""
    forms: dict[str, str] = {}
    for each in (text,) if isinstance(text, str) else text:
        forms.setdefault(normal_form(each), each)
    return tuple(forms.values())


def listed(value: Any, place: str) -> Sequence[Any]:
    """The value, if it is a list; a word is none."""
    if not isinstance(value, (list, tuple)):
        raise RecipeError(f"{place}: expected a list, got {value!r}; write [{value!r}]")
    return value


def checked_entries(stream: Any, kind: type[Any], field: str = "tasks") -> tuple[Any, ...]:
    """The stream's tasks as entries, whose texts say something.

    Args:
        stream: whose field it is.
        kind: of entry; a `TaskEntry` may be written as its `env` alone.
        field: of the stream, that lists them; a plural.
    """
    place = f"{type(stream).__name__}.{field}"
    entries: list[Any] = []
    item: Any
    for i, item in enumerate(listed(getattr(stream, field), place)):
        if isinstance(item, Mapping):
            item = built(kind, item, f"{place}[{i}]")
        elif isinstance(item, str) and kind is TaskEntry:
            item = TaskEntry(item)
        if not isinstance(item, kind):
            raise RecipeError(f"{place}[{i}]: expected a {kind.__name__}, got {item!r}")
        if item.text is not None:
            texts = (item.text,) if isinstance(item.text, str) else tuple(item.text)
            if not texts:
                raise RecipeError(
                    f"{place}[{i}].text: expected words, got {item.text!r}; say what "
                    f"{item.env} asks for, in a sentence"
                )
            checked_texts(f"{place}[{i}].text", texts)
            item = replace(item, text=item.text if isinstance(item.text, str) else texts)
        entries.append(item)
    if not entries:
        raise RecipeError(f"{place}: expected at least one {field[:-1]}, got none; list one")
    return tuple(entries)


def named_tasks(
    tasks: Sequence[tuple[str, tuple[str, ...]]],
    builds: Sequence[Callable[..., EnvBase]],
    horizons: Sequence[int],
    action_repeat: int,
    returning: Returning = "new",
    together: int = 1,
) -> tuple[Task, ...]:
    """Tasks from pairs of env and texts; the second visit of an env is `env#2`, and so on."""
    visits: dict[str, int] = {}
    named = []
    for i, ((env, texts), build, horizon) in enumerate(zip(tasks, builds, horizons)):
        visits[env] = visits.get(env, 0) + 1
        name = env if visits[env] == 1 else f"{env}#{visits[env]}"
        mark = one_hot(i % together, together) if together > 1 else ()
        rest = texts[1:], None, returning, together, i % together, mark
        named.append(Task(name, texts[0], env, build, horizon, action_repeat, *rest))
    return tuple(named)


def one_hot(number: int, count: int) -> tuple[float, ...]:
    """1 in one place of `count`, 0 elsewhere."""
    return tuple(float(i == number) for i in range(count))


def task_facts(tasks: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, str]:
    """Environments in order, and a hash of their texts."""
    written = "\n".join("\t".join(texts) for _, texts in tasks)
    return {
        "tasks": ", ".join(env for env, _ in tasks),
        "texts": hashlib.sha256(written.encode()).hexdigest()[:16],
    }


def one_or_all(values: Iterable[Any]) -> str:
    """What all tasks share, written once, so that a run of one task can be its baseline."""
    written = [str(value) for value in values]
    return written[0] if len(set(written)) == 1 else ", ".join(written)


def check_horizon(stream: Any) -> None:
    if stream.horizon is not None and stream.horizon < 1:
        raise RecipeError(
            f"{type(stream).__name__}.horizon: expected at least 1 step, got {stream.horizon}"
        )
    check_repeat(stream, stream.horizon)


def check_repeat(stream: Any, horizon: int | None) -> None:
    """Raises RecipeError unless actions that are held that long fill an episode."""
    name, repeat = type(stream).__name__, stream.action_repeat
    if repeat < 1:
        raise RecipeError(f"{name}.action_repeat: expected at least 1, got {repeat}")
    if horizon is not None and horizon % repeat:
        fitting = max(n for n in range(1, min(repeat, horizon + 1)) if horizon % n == 0)
        raise RecipeError(
            f"{name}.action_repeat: expected a divisor of the {horizon} steps of an episode, got "
            f"{repeat}; use {fitting}, or another horizon"
        )


def check_together(stream: Any, envs: Sequence[str], returning: Returning = "new") -> None:
    """Raises RecipeError unless tasks can be learned as many at once as the stream says."""
    place, together = f"{type(stream).__name__}.together", stream.together
    if together == 1:
        return
    if together < 1 or len(envs) % together:
        raise RecipeError(
            f"{place}: expected a divisor of the {len(envs)} tasks, so that lessons are of equal "
            f"size, got {together}; {len(envs)} learns all at once"
        )
    if returning != "new":
        raise RecipeError(
            f"{place}: expected 1 where tasks return as {returning!r}, got {together}; a task that "
            f"is learned together with others cannot be taken up again"
        )
    if len(set(envs)) < len(envs):
        raise RecipeError(
            f"{place}: expected 1 where an environment comes twice, got {together}; list each once"
        )


def returning_fact(returning: Returning) -> dict[str, str]:
    """What a protocol says of tasks that come back; nothing where they are new ones."""
    return {} if returning == "new" else {"returning": returning}
