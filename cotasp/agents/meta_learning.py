"""The arithmetic of CoMPS: an inner step that uses old data, and the loss of what it leads to.

Symbols: theta the start, alpha the step sizes, one for every weight that adapts; D_j what was
collected in task j, D*_j its skilled trajectories.  Policies are functions of their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vmap

from cotasp.agents.rollout import log_density

Weights = Mapping[str, Tensor]
# weights, observation -> loc, scale
PolicyAt = Callable[[Weights, Tensor], tuple[Tensor, Tensor]]


class Transitions(NamedTuple):
    """Rows of D_j, [*, B].

    Args:
        observation: [*, B, observation_dim].
        raw_action: [*, B, action_dim], before its squashing by tanh.
        log_prob: [*, B], under the policy that took it.
        advantage: [*, B].
    """

    observation: Tensor
    raw_action: Tensor
    log_prob: Tensor
    advantage: Tensor


class Skilled(NamedTuple):
    """Rows of D*_j: [*, B, observation_dim] and [*, B, action_dim], as in `Transitions`."""

    observation: Tensor
    raw_action: Tensor


def inner_loss(policy: PolicyAt, weights: Weights, rows: Transitions, clip: float) -> Tensor:
    """L_in = -mean [w log pi(a|s) A], w = clip(pi(a|s) / pi_old(a|s), 1 - eps, 1 + eps), a scalar.

    w has no gradient; with eps = 0 it is 1, and this is plain policy gradient.

    Args:
        clip: eps.
    """
    log_prob = log_density(*policy(weights, rows.observation), rows.raw_action)
    ratio = (log_prob - rows.log_prob).detach().exp()
    return -(ratio.clamp(1 - clip, 1 + clip) * log_prob * rows.advantage).mean()


def adapted(
    policy: PolicyAt,
    weights: Weights,
    step_sizes: Weights,
    rows: Transitions,
    clip: float,
    order: Literal["second", "first"] = "second",
) -> dict[str, Tensor]:
    """theta' after inner steps theta <- theta - alpha * grad L_in(theta), elementwise.

    Weights without step sizes stay.

    Args:
        rows: [S, B] for S steps, each with a batch of its own.
        order: `"first"` leaves the gradient's own dependence on theta out.
    """
    fixed = {name: weight for name, weight in weights.items() if name not in step_sizes}
    moving = {name: weights[name] for name in step_sizes}

    def loss(moving: Weights, batch: Transitions) -> Tensor:
        return inner_loss(policy, {**fixed, **moving}, batch, clip)

    for i in range(len(rows.log_prob)):
        slope = grad(loss)(moving, Transitions(*(column[i] for column in rows)))
        if order == "first":
            slope = {name: value.detach() for name, value in slope.items()}
        moving = {name: w - step_sizes[name] * slope[name] for name, w in moving.items()}
    return {**fixed, **moving}


def outer_loss(
    policy: PolicyAt,
    weights: Weights,
    skilled: Skilled,
    kind: Literal["squared", "likelihood"],
) -> Tensor:
    """How far a policy is from skilled trajectories, a scalar.

    `"squared"`: mean ||tanh(loc) - tanh(u*)||^2; `"likelihood"`: -mean log N(u*; loc, scale^2).
    """
    loc, scale = policy(weights, skilled.observation)
    if kind == "likelihood":
        return -log_density(loc, scale, skilled.raw_action).mean()
    return (torch.tanh(loc) - torch.tanh(skilled.raw_action)).square().sum(-1).mean()


def meta_loss(
    policy: PolicyAt,
    weights: Weights,
    step_sizes: Weights,
    rows: Transitions,
    skilled: Skilled,
    clip: float,
    order: Literal["second", "first"] = "second",
    outer: Literal["squared", "likelihood"] = "squared",
) -> Tensor:
    """mean over tasks of the outer loss of the policy that inner steps lead to, a scalar.

    Args:
        rows: [J, S, B] of J tasks.
        skilled: [J, B].
    """

    def of_task(rows: Transitions, skilled: Skilled) -> Tensor:
        reached = adapted(policy, weights, step_sizes, rows, clip, order)
        return outer_loss(policy, reached, skilled, outer)

    return vmap(of_task, randomness="error")(rows, skilled).mean()
