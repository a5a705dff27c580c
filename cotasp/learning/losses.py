"""The losses of soft actor-critic and of policy distillation, as plain functions.

SAC: arXiv 1812.05905.  They agree with TorchRL's `SACLoss(loss_function="l2")` on the same batch
and noise, but can be called one by one, so that the actor sees the new critic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cotasp.modules.critics import Ensemble
from cotasp.modules.policy import sample_squashed

Policy = Callable[[Tensor], tuple[Tensor, Tensor]]  # observation -> loc, scale


class Batch(NamedTuple):
    """Transitions, one per row; of several learners, [learners, B, *].

    Args:
        observation: [B, observation_dim].
        action: [B, action_dim] in [-1, 1].
        reward: [B], what the row's steps earned: sum_k gamma^k r_k.
        next_observation: after the row's last step.
        discount: [B], what a unit of the next state's value is worth now: gamma^steps, and 0 where
            the episode terminated; time limits do not count.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    discount: Tensor


@torch.no_grad()
def critic_loss(
    critics: Ensemble,
    targets: Ensemble,
    policy: Policy,
    batch: Batch,
    temperature: Tensor,
    noise: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """Sum over critics of the mean squared Bellman error.

    y = r + discount [min_i Q'_i(s', a') - alpha log pi(a'|s')], a' ~ pi(.|s').

    Args:
        temperature: alpha, [*].
        noise: [*, B, action_dim], standard normal, for a'.

    Returns:
        the loss [*], and its gradients by the critics' parameters.
    """
    next_action, log_prob = sample_squashed(*policy(batch.next_observation), noise)
    value = targets.values(batch.next_observation, next_action).amin(-2)
    value = value - temperature[..., None] * log_prob
    target = batch.reward + batch.discount * value
    values, tape = critics.taped(batch.observation, batch.action)
    error = values - target.unsqueeze(-2)
    slope = error * (2.0 / error.shape[-1])
    return error.square().mean(-1).sum(-1), critics.gradients(tape, slope)


def actor_loss(
    critics: Ensemble, policy: Policy, observation: Tensor, temperature: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """mean [alpha log pi(a|s) - min_i Q_i(s, a)], a ~ pi(.|s).

    Where critics agree exactly, the gradient is that of one of them.

    Args:
        temperature: alpha, [*].
        noise: [*, B, action_dim], standard normal, for a.

    Returns:
        the loss [*]; a surrogate, scalar, whose gradient by the policy's weights or masks is that
        of the sum of the losses; and log pi(a|s) [*, B].  Only the surrogate has a gradient.
    """
    action, log_prob = sample_squashed(*policy(observation), noise)
    with torch.no_grad():
        values, tape = critics.taped(observation, action)
        lowest, which = values.min(-2, keepdim=True)
        slope = torch.zeros_like(values).scatter_(-2, which, 1.0 / values.shape[-1])
        rise = critics.action_gradient(tape, slope, action.shape[-1])
    cost = (temperature[..., None] * log_prob).mean(-1)
    loss = cost.detach() - lowest.squeeze(-2).mean(-1)
    return loss, cost.sum() - (rise * action).sum(), log_prob.detach()


def temperature_gradient(log_prob: Tensor, target_entropy: float) -> Tensor:
    """d/d(log alpha) of -log alpha * mean [log pi(a|s) + target entropy]; [*, B] to [*]."""
    return -(log_prob.mean(-1) + target_entropy)


def distillation_loss(policy: Policy, observation: Tensor) -> Tensor:
    """mean KL(N(loc, scale^2) || N(0, 1)), [*, B, observation_dim] to [*]: pulls the policy to a
    random one.

    CoTASP's random policy distillation, which makes the free weights of a new task's
    sub-network plastic again.
    """
    loc, scale = policy(observation)
    return 0.5 * (loc.square() + scale.square() - 1.0 - 2.0 * scale.log()).sum(-1).mean(-1)
