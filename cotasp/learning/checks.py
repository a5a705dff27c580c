"""What stops a learner: settings that can only end badly, and numbers that are not finite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cotasp.errors import RecipeError, RunError
from cotasp.modules.subnetwork import active_units

if TYPE_CHECKING:
    from cotasp.learning.agent import Problem

_REMEDY = "lower learning_rate or reward_scale, or check the environment's rewards"


def check_warmup(warmup_steps: int, steps_per_task: int) -> None:
    """Raises RecipeError when warm-up leaves no step to learn in."""
    if warmup_steps >= steps_per_task:
        raise RecipeError(
            f"recipe.agent.warmup_steps: expected fewer than the {steps_per_task} steps_per_task, "
            f"got {warmup_steps}: nothing would be learned; warm up less or train longer"
        )


def check_sub_network(mask: Tensor, hidden: Sequence[int], problem: Problem, task: int) -> None:
    """Raises RunError when a task's mask [sum(hidden)] switches a whole layer off."""
    try:
        active_units(mask, hidden)
    except RunError as error:
        raise RunError(f"task {task} ({problem.texts[task]!r}): {error}") from error


def check_first_masks(masks: Tensor, hidden: Sequence[int], problem: Problem, lmbda: float) -> None:
    """Raises RecipeError when a text's first mask, a row of [n_tasks, sum(hidden)], is no use."""
    for task, mask in enumerate(masks):
        try:
            check_sub_network(mask, hidden, problem, task)
        except RunError as error:
            raise RecipeError(
                f"recipe.dictionary.lmbda: {lmbda:g} is too large, or the mask policy's "
                f"threshold: {error}"
            ) from error


def check_loss(name: str, value: Tensor, update: int) -> None:
    """Raises RunError when a loss is not finite."""
    if not torch.isfinite(value):
        raise RunError(f"{name} is {float(value)} at update {update}; {_REMEDY}")


def check_parameters(parameters: Iterable[tuple[str, Tensor]], update: int) -> None:
    """Raises RunError when a parameter is not finite."""
    name = non_finite(parameters)
    if name is not None:
        raise RunError(f"parameter {name} is not finite at update {update}; {_REMEDY}")


def non_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None: there is none."""
    for name, tensor in tensors:
        if not tensor.is_floating_point():
            continue
        # a sum is far cheaper, but may overflow where every number is finite
        if not torch.isfinite(tensor.sum()) and not bool(torch.isfinite(tensor).all()):
            return name
    return None
