"""Whether a task has room for its warm-up, and an episode for its returns: numbers only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from cotasp.methods.problem import Problem


@runtime_checkable
class WarmsUp(Protocol):
    """Settings of an agent that collects before it learns, from returns of several steps."""

    @property
    def warmup_steps(self) -> int | None:
        """Environment steps of each task that only collect data; None: see `warmup_steps`."""
        ...

    @property
    def n_step(self) -> int:
        """Transitions whose rewards a return holds."""
        ...


@runtime_checkable
class ChecksBudget(Protocol):
    """Settings of an agent that fit the numbers of some streams only."""

    def check_budget(self, budget: Budget) -> None:
        """Raises RecipeError, from the recipe's key on, where they do not; what the stream does not
        tell before its tasks are made is None.
        """
        ...


@dataclass(frozen=True)
class Budget:
    """The environment steps that there are; a `Problem` says the same, once tasks are built.

    Args:
        steps_per_task: environment steps per task.
        action_repeat: environment steps per transition.
        horizon: environment steps per episode; None: unknown, or not the same for all.
        tasks: of the stream; None: known once they are made.
    """

    steps_per_task: int
    action_repeat: int = 1
    horizon: int | None = None
    tasks: int | None = None


LONGEST_WARMUP = 2_000  # environment steps, where a recipe leaves it open


def warmup_steps(settings: WarmsUp, budget: Budget | Problem) -> int:
    """The settings' warm-up in environment steps; left open: a tenth of a task, at most 2,000."""
    steps = settings.warmup_steps
    return min(LONGEST_WARMUP, budget.steps_per_task // 10) if steps is None else steps


def first_update_after(settings: WarmsUp, budget: Budget | Problem) -> int:
    """Transitions of a task after which there is one update more for each."""
    # no row is complete before its n transitions are there
    return max(warmup_steps(settings, budget) // budget.action_repeat, settings.n_step - 1)


def check_budget(settings: WarmsUp, budget: Budget | Problem, where: str = "recipe.agent") -> None:
    """Raises RecipeError when a task has no transition left to learn in.

    Args:
        settings: the agent's.
        budget: of the stream.
        where: the agent's place, for the message.
    """
    steps, repeat, warmup = (
        budget.steps_per_task,
        budget.action_repeat,
        warmup_steps(settings, budget),
    )
    if first_update_after(settings, budget) < steps // repeat:
        return
    if warmup // repeat >= settings.n_step - 1:
        raise RecipeError(
            f"{where}.warmup_steps: expected fewer than the {steps} steps_per_task, "
            f"got {warmup}: nothing would be learned; warm up less or train longer"
        )
    raise RecipeError(
        f"{where}.n_step: expected at most the {steps // repeat} actions of a task "
        f"({steps} steps, each action held for {repeat}), got {settings.n_step}: nothing would "
        f"be learned; train longer"
    )


def check_returns(settings: WarmsUp, budget: Budget | Problem, where: str = "recipe.agent") -> None:
    """Raises RecipeError when a return has more steps than an episode; arguments as above."""
    if budget.horizon is None:
        return
    transitions = budget.horizon // budget.action_repeat
    if settings.n_step > transitions:
        raise RecipeError(
            f"{where}.n_step: expected at most the {transitions} actions of an episode "
            f"({budget.horizon} steps, each action held for {budget.action_repeat}), "
            f"got {settings.n_step}; 3 to 10 is usual"
        )
