"""What stops a learner: settings that can only end badly, and numbers that are not finite."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cotasp.agents.budget import check_returns
from cotasp.errors import RunError
from cotasp.methods.multistep import fitted_discount
from cotasp.storage.tensors import non_finite

if TYPE_CHECKING:
    from cotasp.agents.settings import OffPolicy
    from cotasp.methods.problem import Problem

_REMEDY = (
    "check the environment's rewards, or begin a run with a lower learning_rate or reward_scale "
    "(--from DIR@TASK keeps finished tasks)"
)


def check_episode(settings: OffPolicy, problem: Problem) -> None:
    """Sees that returns and discount fit an episode's length.

    Raises:
        RecipeError: returns of more steps than an episode has.
    """
    check_returns(settings, problem)
    gamma = settings.gamma
    if problem.horizon is None or gamma is None:
        return
    transitions = problem.horizon // problem.action_repeat
    ahead = 1 / max(1 - gamma, 1e-9)
    if 0.999 * transitions / 20 <= ahead <= 1.001 * transitions:
        return
    warnings.warn(
        f"recipe.agent.gamma: {gamma:g} looks {ahead:,.0f} actions ahead, where "
        f"an episode has {transitions}; leave it out to have it fitted, or choose about "
        f"{fitted_discount(problem):g}",
        stacklevel=2,
    )


def check_losses(losses: Mapping[str, Tensor], before: int) -> None:
    """Raises RunError at the first loss of some updates that is not finite.

    Args:
        losses: by name, in the order in which an update computes them, [updates] each.
        before: updates made before these.
    """
    wrong = ~torch.isfinite(torch.stack(list(losses.values()), -1)).flatten()
    if wrong.any():
        i, which = divmod(int(wrong.long().argmax()), len(losses))
        name = list(losses)[which]
        raise RunError(f"{name} is {float(losses[name][i])} at update {before + i + 1}; {_REMEDY}")


def check_parameters(parameters: Iterable[tuple[str, Tensor]], update: int) -> None:
    """Raises RunError when a parameter is not finite."""
    name = non_finite(parameters)
    if name is not None:
        raise RunError(f"parameter {name} is not finite at update {update}; {_REMEDY}")
