"""The losses of soft actor-critic and of policy distillation, as plain functions.

SAC: arXiv 1812.05905.  They agree with TorchRL's `SACLoss(loss_function="l2")` on the same batch
and noise, but can be called one by one, so that the actor sees the new critic.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cotasp.methods.batch import Batch
from cotasp.modules.ensembles import Ensemble, fit
from cotasp.modules.policy import Policy, gaussian_kl, sample_squashed

Rule = Literal["min", "mean"]  # how the critics' values become one


@torch.no_grad()
def critic_loss(
    critics: Ensemble,
    targets: Ensemble,
    policy: Policy,
    batch: Batch,
    temperature: Tensor,
    noise: Tensor,
    rule: Rule,
) -> tuple[Tensor, list[Tensor]]:
    """Sum over critics of the mean loss against Bellman targets; for plain values, squared error.

    y = r + discount [min_i Q'_i(s', a') - alpha log pi(a'|s')], a' ~ pi(.|s').

    Args:
        temperature: alpha, [*].
        noise: [*, B, action_dim], standard normal, for a'.
        rule: min_i, or the mean over i in its place.

    Returns:
        the loss [*], and its gradients by the critics' parameters.
    """
    next_action, log_prob = sample_squashed(*policy(batch.next_observation), noise)
    values = targets.values(batch.next_observation, next_action)
    value = values.amin(-2) if rule == "min" else values.mean(-2)
    value = value - temperature[..., None] * log_prob
    target = batch.reward + batch.discount * value
    return fit(critics, batch.observation, batch.action, target)


def actor_loss(
    critics: Ensemble,
    policy: Policy,
    observation: Tensor,
    temperature: Tensor,
    noise: Tensor,
    rule: Rule,
) -> tuple[Tensor, Tensor, Tensor]:
    """mean [alpha log pi(a|s) - min_i Q_i(s, a)], a ~ pi(.|s).

    Where critics agree exactly, the gradient is that of one of them.

    Args:
        temperature: alpha, [*].
        noise: [*, B, action_dim], standard normal, for a.
        rule: min_i, or the mean over i in its place.

    Returns:
        the loss [*]; a surrogate, scalar, whose gradient by the policy's weights or masks is that
        of the sum of the losses; and log pi(a|s) [*, B].  Only the surrogate has a gradient.
    """
    action, log_prob = sample_squashed(*policy(observation), noise)
    with torch.no_grad():
        values, pullback = critics.action_vjp(observation, action)
        slope = _slope(values, rule) / values.shape[-1]
        rise = pullback(slope)
    cost = (temperature[..., None] * log_prob).mean(-1)
    loss = cost.detach() - (slope * values).sum((-2, -1))
    return loss, cost.sum() - (rise * action).sum(), log_prob.detach()


def _slope(values: Tensor, rule: Rule) -> Tensor:
    """Gradient of the least, or mean, of the members' values [*, n, B] by each of them."""
    if rule == "mean":
        return torch.full_like(values, 1.0 / values.shape[-2])
    return torch.zeros_like(values).scatter_(-2, values.argmin(-2, keepdim=True), 1.0)


def temperature_gradient(log_prob: Tensor, target_entropy: float) -> Tensor:
    """d/d(log alpha) of -log alpha * mean [log pi(a|s) + target entropy]; [*, B] to [*]."""
    return -(log_prob.mean(-1) + target_entropy)


def imitation_loss(policy: Policy, teacher: Policy, observation: Tensor) -> Tensor:
    """mean KL(teacher || policy), [*, B, observation_dim] to [*], between the Gaussians before the
    squashing, which does not change it.
    """
    with torch.no_grad():
        expected = teacher(observation)
    return gaussian_kl(*expected, *policy(observation)).sum(-1).mean(-1)


def distillation_loss(policy: Policy, observation: Tensor) -> Tensor:
    """mean KL(N(loc, scale^2) || N(0, 1)), [*, B, observation_dim] to [*]: pulls the policy to a
    random one.

    CoTASP's random policy distillation, which makes the free weights of a new task's
    sub-network plastic again.
    """
    loc, scale = policy(observation)
    return 0.5 * (loc.square() + scale.square() - 1.0 - 2.0 * scale.log()).sum(-1).mean(-1)
