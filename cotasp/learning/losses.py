"""The losses of soft actor-critic and of policy distillation, as plain functions.

SAC: arXiv 1812.05905.  They agree with TorchRL's `SACLoss(loss_function="l2")` on the same batch
and noise, but can be called one by one, so that the actor sees the new critic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cotasp.modules.policy import sample_squashed

Policy = Callable[[Tensor], tuple[Tensor, Tensor]]  # observation -> loc, scale
Critic = Callable[[Tensor, Tensor], Tensor]  # observation, action -> values [n, B]


class Batch(NamedTuple):
    """Transitions, one per row.

    Args:
        observation, next_observation: [B, observation_dim].
        action: [B, action_dim] in [-1, 1].
        reward: [B].
        terminated: [B], 1 where the next state is worth nothing; time limits do not count.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor


def critic_loss(
    critics: Critic,
    targets: Critic,
    policy: Policy,
    batch: Batch,
    temperature: Tensor,
    gamma: float,
    noise: Tensor,
) -> Tensor:
    """Sum over critics of the mean squared Bellman error.

    y = r + gamma (1 - terminated) [min_i Q'_i(s', a') - alpha log pi(a'|s')], a' ~ pi(.|s').

    Args:
        temperature: alpha, scalar.
        noise: [B, action_dim], standard normal, for a'.
    """
    with torch.no_grad():
        next_action, log_prob = sample_squashed(*policy(batch.next_observation), noise)
        value = targets(batch.next_observation, next_action).amin(0) - temperature * log_prob
        target = batch.reward + gamma * (1.0 - batch.terminated) * value
    error = critics(batch.observation, batch.action) - target
    return error.square().mean(-1).sum()


def actor_loss(
    critics: Critic, policy: Policy, observation: Tensor, temperature: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """mean [alpha log pi(a|s) - min_i Q_i(s, a)], a ~ pi(.|s).

    Returns:
        the loss, and log pi(a|s) [B] without gradient.
    """
    action, log_prob = sample_squashed(*policy(observation), noise)
    value = critics(observation, action).amin(0)
    return (temperature * log_prob - value).mean(), log_prob.detach()


def temperature_gradient(log_prob: Tensor, target_entropy: float) -> Tensor:
    """d/d(log alpha) of -log alpha * mean [log pi(a|s) + target entropy]."""
    return -(log_prob.mean() + target_entropy)


def distillation_loss(policy: Policy, observation: Tensor) -> Tensor:
    """mean KL(N(loc, scale^2) || N(0, 1)): pulls the policy to a random one.

    CoTASP's random policy distillation, which makes the free weights of a new task's
    sub-network plastic again.
    """
    loc, scale = policy(observation)
    return 0.5 * (loc.square() + scale.square() - 1.0 - 2.0 * scale.log()).sum(-1).mean()
