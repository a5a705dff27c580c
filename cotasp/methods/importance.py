"""How much a policy's outputs depend on each weight, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.func import grad, vmap

from cotasp.modules.policy import MetaPolicy
from cotasp.modules.share import Share
from cotasp.modules.subnetwork import outputs_by

_HELD = 4_000_000  # numbers of rows' gradients that are in memory at once
Outputs = Callable[[Tensor, Tensor], Tensor]  # loc, scale [action_dim] -> a number


def mean_over_rows(
    policy: MetaPolicy,
    share: Share,
    observations: Tensor,
    numbers: Iterable[Outputs],
    size: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Sum over numbers f of the mean over rows s of size(d f(loc(s), scale(s)) / d theta_i).

    Args:
        policy: whose weights.
        share: of it, whose policy acts.
        observations: [n, in_features].
        numbers: of one row's outputs.
        size: elementwise, of gradients of rows; a square or an absolute value.

    Returns:
        parameter name to tensor of its shape.
    """
    weights = {name: p.detach() for name, p in policy.named_parameters()}
    total = {name: torch.zeros_like(p) for name, p in weights.items()}
    together = max(1, _HELD // sum(p.numel() for p in weights.values()))
    for number in numbers:

        def of_row(params: dict[str, Tensor], observation: Tensor) -> Tensor:
            return number(*outputs_by(policy, share, params, observation))  # noqa: B023

        per_row = vmap(grad(of_row), in_dims=(None, 0))
        for rows in observations.split(together):
            for name, gradient in per_row(weights, rows).items():
                total[name] += size(gradient).sum(0)
    return {name: t / len(observations) for name, t in total.items()}


def gaussian_fisher(
    policy: MetaPolicy, share: Share, observations: Tensor, squashed: bool = False
) -> dict[str, Tensor]:
    """Diagonal Fisher information of the Gaussian N(loc, scale^2), exact in the actions.

    F_i = E_s sum_a [(d loc_a / d theta_i)^2 + 2 (d scale_a / d theta_i)^2] / scale_a^2.

    Args:
        policy: whose weights.
        share: of it, whose policy acts.
        observations: [n, in_features].
        squashed: Continual World's (arXiv 2105.10919), which is the Fisher information of no
            density: tanh(loc) in the place of loc, and scale^2 + 1e-6 below.

    Returns:
        parameter name to non-negative tensor of its shape.
    """

    def mean_of(a: int) -> Outputs:
        return lambda loc, scale: (loc.tanh() if squashed else loc)[a] / deviation(scale)[a]

    def scale_of(a: int) -> Outputs:
        return lambda loc, scale: 2.0**0.5 * scale[a] / deviation(scale)[a]

    def deviation(scale: Tensor) -> Tensor:
        fixed = scale.detach()
        return (fixed.square() + 1e-6).sqrt() if squashed else fixed

    numbers = [of(a) for a in range(policy.action_dim) for of in (mean_of, scale_of)]
    return mean_over_rows(policy, share, observations, numbers, torch.square)


def output_sensitivity(policy: MetaPolicy, share: Share, observations: Tensor) -> dict[str, Tensor]:
    """E_s |d (||tanh(loc)||^2 + ||log scale||^2) / d theta_i| (memory-aware synapses, arXiv
    1711.09601, of a policy's outputs as in Continual World, arXiv 2105.10919).

    Args:
        policy: whose weights.
        share: of it, whose policy acts.
        observations: [n, in_features].

    Returns:
        parameter name to non-negative tensor of its shape.
    """

    def length(loc: Tensor, scale: Tensor) -> Tensor:
        return loc.tanh().square().sum() + scale.log().square().sum()

    return mean_over_rows(policy, share, observations, [length], torch.abs)
