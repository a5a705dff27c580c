"""What a task begins with, where its mask says: a code, weights of its own, scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from cotasp.errors import calling, refuse_returned
from cotasp.methods.scores import TaskScores, scored_weights
from cotasp.methods.trained import ActorRates
from cotasp.modules.beginning import Beginning, FirstCode, Scales, Wires, Workspace
from cotasp.modules.masks import MaskPolicy, Private
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.returned import wrong_tensor, wrong_tensors
from cotasp.modules.scored import Scored
from cotasp.modules.share import Share

Scale = tuple[Mapping[str, Tensor], float]  # `scale` and `rest` of a share


def first_code(mask: MaskPolicy, task: Beginning) -> Tensor:
    """The code [sum(hidden)] that a task begins with: its prompt, or what its mask says."""
    if not isinstance(mask, FirstCode):
        return task.prompt
    with calling("mask", mask):
        code = mask.first_code(task)
    wrong = wrong_tensor(code, task.prompt.shape, task.prompt.dtype)
    refuse_returned("mask", mask, "first_code", "an entry per unit, of the prompt's type", wrong)
    return code


@torch.no_grad()
def begin_private(
    mask: MaskPolicy, policy: MetaPolicy, share: Share | None, others: bool, generator: Generator
) -> None:
    """Gives a meta-policy the weights that a task of its own begins with, if the mask is private.

    Args:
        mask: of the recipe.
        policy: changed in place.
        share: of the task, where it has ended before.
        others: whether tasks have ended; the first one has what was drawn.
        generator: of fresh weights.
    """
    if not isinstance(mask, Private):
        return
    for name, weight in policy.named_parameters():
        if share is not None:
            weight.copy_(share.own[name])
        elif mask.anew and others:
            weight.copy_(policy.drawn(name, weight.shape, generator))


@torch.no_grad()
def draw_wires(mask: MaskPolicy, policy: MetaPolicy, tasks: int) -> dict[str, Tensor]:
    """Gives a meta-policy the weights that a mask leaves it before the first task.

    Args:
        mask: of the recipe.
        policy: as it was drawn; changed in place.
        tasks: of the stream that have policies of their own.

    Returns:
        bool by parameter's name, true where there is a weight; empty: everywhere.
    """
    if not isinstance(mask, Wires):
        return {}
    weights = dict(policy.named_parameters())
    with calling("mask", mask):
        factors = mask.wires(policy, tasks)
    wrong = wrong_tensors(factors, weights, every=False)
    refuse_returned("mask", mask, "wires", "numbers of the weights' names and shapes", wrong)
    for name, factor in factors.items():
        weights[name].mul_(factor)
    ones = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    return ones | {name: factor != 0 for name, factor in factors.items()}


@torch.no_grad()
def draw_workspace(mask: MaskPolicy, policy: MetaPolicy, tasks: int, generator: Generator) -> None:
    """Draws anew what a task is to work in, if its mask says so.

    Args:
        mask: of the recipe.
        policy: changed in place.
        tasks: of the stream that have policies of their own.
        generator: of fresh weights.
    """
    if not isinstance(mask, Workspace):
        return
    factors = mask.wires(policy, tasks) if isinstance(mask, Wires) else {}
    for name, part in workspace_of(mask, policy).items():
        weight = policy.get_parameter(name)
        drawn = policy.drawn(name, weight.shape, generator).to(weight) * factors.get(name, 1.0)
        weight.copy_(torch.where(part, drawn, weight))


def workspace_of(mask: Workspace, policy: MetaPolicy) -> dict[str, Tensor]:
    """What a mask says that tasks work in, bool by parameter's name."""
    with calling("mask", mask):
        parts = mask.workspace(policy)
    wrong = wrong_tensors(parts, dict(policy.named_parameters()), torch.bool, every=False)
    expected = "bool tensors of the weights' names and shapes"
    refuse_returned("mask", mask, "workspace", expected, wrong)
    return parts


@torch.no_grad()
def draw_scored(mask: Scored, policy: MetaPolicy) -> None:
    """Gives the weights that tasks choose among what they begin with."""
    with calling("mask", mask):
        for weight in scored_weights(policy).values():
            weight.copy_(mask.first_weight(weight.clone()))


def begin_scores(
    mask: Scored, policy: MetaPolicy, share: Share | None, rates: ActorRates, generator: Generator
) -> TaskScores:
    """The scores that a task begins with: new ones, or those of its share where it has ended."""
    weights, kept = scored_weights(policy), {} if share is None else share.scale
    return TaskScores(mask, weights, kept, rates.learning_rate, rates.average, generator)


def begin_scale(
    mask: MaskPolicy, policy: MetaPolicy, share: Share | None, guard: Mapping[str, Tensor] | None
) -> Scale:
    """Which weights a task reads as they are, and what multiplies the others.

    Args:
        mask: of the recipe.
        policy: the meta-policy.
        share: of the task, where it has ended before: it keeps what it had.
        guard: true where a weight may move in this task; None: everywhere.
    """
    if not isinstance(mask, Scales):
        return {}, 0.0
    if share is not None:
        return share.scale, share.rest
    fixed = {name: ~free for name, free in (guard or {}).items()}
    with calling("mask", mask):
        scale, rest = mask.scale(fixed)
    wrong = wrong_tensors(scale, dict(policy.named_parameters()), torch.bool, every=False)
    refuse_returned("mask", mask, "scale", "bool tensors of the weights' names and shapes", wrong)
    return scale, float(rest)
