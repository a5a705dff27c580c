"""What an on-policy agent makes of a batch: advantages, value targets and the clipped loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.objectives.value.functional import generalized_advantage_estimate


class Steps(NamedTuple):
    """Transitions of n environments side by side, in the order of time.

    Args:
        observation, next_observation: [n, T, observation_dim].
        raw_action: [n, T, action_dim], before its squashing by tanh.
        reward: [n, T, 1], scaled.
        terminated: bool [n, T, 1]; time limits do not count.
        ends: bool [n, T, 1], whether what follows is of another episode.
    """

    observation: Tensor
    raw_action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor
    ends: Tensor

    @classmethod
    def of(cls, data: TensorDictBase, reward_scale: float) -> Steps:
        """Of what a collection gives, [T] or [n, T]."""
        data = data if data.ndim == 2 else data.unsqueeze(0)
        following = data["next"]
        ends = following["done"].clone()
        ends[:, :-1] |= data["is_init"][:, 1:]  # an episode that was left in its middle
        return cls(
            data["observation"],
            data["raw_action"],
            following["reward"] * reward_scale,
            following["observation"],
            following["terminated"],
            ends,
        )


class Rollout(NamedTuple):
    """Rows that an iteration learns from, [B] of all environments.

    Args:
        observation: [B, observation_dim].
        raw_action: [B, action_dim], before its squashing by tanh.
        log_prob: [B], log-density of the raw action under the policy that took it.
        advantage: [B], standardised over the batch.
        target: [B], the return that the value network is fitted to.
    """

    observation: Tensor
    raw_action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor

    def rows(self, places: Tensor) -> Rollout:
        """Those at some places [b]."""
        return Rollout(*(column[places] for column in self))


@torch.no_grad()
def advantages(
    steps: Steps, value: Callable[[Tensor], Tensor], gamma: float, lmbda: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates (arXiv 1506.02438, Eq. 16) and value targets, [n, T].

    delta_t = r_t + gamma V(s_t+1) - V(s_t),  A_t = sum_k (gamma lambda)^k delta_t+k, to the end of
    the episode or of the batch; V is 0 after termination and counts at time limits.

    Args:
        value: [*, observation_dim] to [*].
    """
    estimate, target = generalized_advantage_estimate(
        gamma,
        lmbda,
        value(steps.observation).unsqueeze(-1),
        value(steps.next_observation).unsqueeze(-1),
        steps.reward,
        steps.ends,
        steps.terminated,
    )
    return estimate.squeeze(-1), target.squeeze(-1)


def standardised(advantage: Tensor) -> Tensor:
    """(A - mean A) / std A over all entries; 0 where they do not differ."""
    return (advantage - advantage.mean()) / advantage.std(correction=0).clamp(min=1e-8)


def log_density(loc: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    """log N(x; loc, scale^2) of independent components, [*, d] to [*]."""
    normal = -0.5 * ((x - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)
    return normal.sum(-1)


def entropy(scale: Tensor) -> Tensor:
    """Of a Gaussian with independent components of these deviations, [*, d] to [*], in nats."""
    return (scale.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


def clipped_loss(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """-mean min(r A, clip(r, 1 - eps, 1 + eps) A), PPO's (arXiv 1707.06347, Eq. 7); [B] to scalar.

    Args:
        log_ratio: log r, [B].
        advantage: A, [B].
        clip: eps.
    """
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()
