"""Masks of single weights, chosen by scores that train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Generator, Tensor


@runtime_checkable
class Scored(Protocol):
    """A mask policy with all units, whose tasks choose weights between them by scores that train.

    Every weight matrix that tasks share is scored; biases and heads of one's own are not.
    """

    @property
    def trains_weights(self) -> bool:
        """Whether shared weights train beside the scores, or stay as they began."""
        ...

    def first_weight(self, weight: Tensor) -> Tensor:
        """A weight matrix [out, in] as it begins, before the first task.

        Args:
            weight: as it was drawn.
        """
        ...

    def first_scores(self, weight: Tensor, kept: Tensor | None, generator: Generator) -> Tensor:
        """Scores [out, in] that a task begins with.

        Args:
            weight: that they are of.
            kept: bool [out, in], what the task chose when it ended before; None: it is new.
            generator: random numbers of this task, on the CPU.
        """
        ...

    def multiplier(self, scores: Tensor) -> Tensor:
        """1 for the weights that are chosen and 0 for the others, [out, in], attached to the
        scores by a derivative of its own (straight-through).
        """
        ...


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
