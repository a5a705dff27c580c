"""Scores of single weights for masks that are `Scored`: how they begin, and what they choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def largest(scores: Tensor, keep: float) -> Tensor:
    """1 for the scores of largest size, 0 for the others, attached to the sizes straight through.

    Args:
        scores: [out, in].
        keep: fraction that is 1, in (0, 1]; one at least.
    """
    import torch

    from cotasp.modules.straight_through import straight_through

    size = scores.abs()
    count = max(1, round(keep * scores.numel()))
    chosen = torch.zeros_like(scores, dtype=torch.bool).flatten()
    chosen[size.detach().flatten().topk(count, sorted=False).indices] = True
    return straight_through(size, chosen.view_as(scores), "identity")


def uniform_scores(weight: Tensor, kept: Tensor | None, generator: Generator) -> Tensor:
    """Scores drawn from U(-1 / sqrt(in), 1 / sqrt(in)), [out, in].

    Args:
        weight: of the same shape.
        kept: bool, who gets those of largest size; None: nobody in particular.
        generator: random numbers, on the CPU.
    """
    import torch

    bound = weight.shape[-1] ** -0.5
    drawn = (2.0 * torch.rand(weight.shape, generator=generator) - 1.0).to(weight) * bound
    if kept is None:
        return drawn
    falling = drawn.flatten()[drawn.abs().flatten().argsort(descending=True)]
    scores = torch.empty_like(falling)
    scores[(~kept).flatten().to(torch.uint8).argsort(stable=True)] = falling  # kept ones first
    return scores.view_as(drawn)
