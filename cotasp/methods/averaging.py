"""Arithmetic on all weights at once: running averages, and gradients of a largest norm."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped(gradients: list[Tensor], largest: float | None, stacked: bool = False) -> list[Tensor]:
    """Gradients scaled down to a norm, all together, where theirs is larger (PyTorch's
    `clip_grad_norm_`).

    Args:
        gradients: of all parameters.
        largest: norm; None: any.
        stacked: whether they are of several networks, [n, *], each of which has its own norm.
    """
    if largest is None:
        return gradients
    if stacked:
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
    else:
        norms = torch.stack(torch._foreach_norm(gradients)).norm()
    # what is not finite must not make more so: frozen weights have gradient 0
    factors = (largest / (norms + 1e-6)).clamp(max=1.0).nan_to_num(nan=1.0)
    return [
        g * factors.view(-1, *[1] * (g.ndim - 1)) if stacked else g * factors for g in gradients
    ]


def averaging_weight(decay: float, steps: int) -> float:
    """What the latest weights count in a running average (Polyak & Juditsky 1992): 1 - decay, and
    10 / (steps + 10) while that is more, so that the first weights are soon forgotten.

    Args:
        decay: in [0, 1).
        steps: that have been taken, at least 1.
    """
    return max(1.0 - decay, 10.0 / (steps + 10.0))


@torch.no_grad()
def average_(averages: list[Tensor], weights: list[Tensor], weight: float | Tensor) -> None:
    """average += weight (weights - average), in place; see `averaging_weight`.

    Args:
        averages: none, where nothing is averaged.
        weights: as many.
        weight: scalar, in (0, 1].
    """
    if not averages:
        return
    if isinstance(weight, float):
        torch._foreach_lerp_(averages, weights, weight)
    else:
        steps = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(steps, weight)
        torch._foreach_add_(averages, steps)
