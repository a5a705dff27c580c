"""Fisher information of a policy's weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, vmap

from cotasp.modules.policy import MetaPolicy
from cotasp.modules.share import Share
from cotasp.modules.subnetwork import outputs_by


def fisher_information(
    policy: MetaPolicy,
    share: Share,
    observations: Tensor,
    generator: torch.Generator | None = None,
    chunk: int = 8,
) -> dict[str, Tensor]:
    """Diagonal Fisher information, F_i = E_s E_{a ~ pi(.|s)} [(d log pi(a|s) / d theta_i)^2].

    One action is drawn per state.  The squashing of the
    action does not depend on theta, so the density before it serves.

    Args:
        policy: whose weights.
        share: of it, whose policy acts.
        observations: [n, in_features].
        generator: of the actions, on the CPU; None: torch's global one.
        chunk: per-sample gradients held in memory at once.

    Returns:
        parameter name to non-negative tensor of its shape.
    """
    weights = {name: p.detach() for name, p in policy.named_parameters()}
    with torch.no_grad():
        loc, scale = outputs_by(policy, share, weights, observations)
        noise = torch.randn(loc.shape, dtype=loc.dtype, generator=generator)
        drawn = loc + scale * noise.to(loc.device)

    def log_density(params: dict[str, Tensor], observation: Tensor, u: Tensor) -> Tensor:
        loc, scale = outputs_by(policy, share, params, observation)
        return (-0.5 * ((u - loc) / scale).square() - scale.log()).sum()

    per_sample = vmap(grad(log_density), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in weights.items()}
    for states, actions in zip(observations.split(chunk), drawn.split(chunk)):
        for name, gradient in per_sample(weights, states, actions).items():
            total[name] += gradient.square().sum(0)
    return {name: t / len(observations) for name, t in total.items()}
