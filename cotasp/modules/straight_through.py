"""The straight-through estimator, with its derivative written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(code: Tensor, chosen: Tensor, passes: Tensor) -> Tensor:
        return chosen.to(code.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (passes,) = ctx.saved_tensors
        return grad * passes, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple, code: Tensor, chosen: Tensor, passes: Tensor) -> tuple:
        moved = [
            x.movedim(d, 0) if d is not None else x.expand(info.batch_size, *x.shape)
            for x, d in zip((code, chosen, passes), in_dims)
        ]
        return _StraightThrough.apply(*moved), 0


def straight_through(code: Tensor, chosen: Tensor, gradient: str) -> Tensor:
    """A binary mask whose derivative with respect to the code is 1 where the rule lets it pass.

    Bengio et al. 2013 (arXiv 1308.3432); CoTASP uses it for Eq. 2.

    Args:
        code: [*, K], floating point.
        chosen: [*, K], bool, the active neurons.
        gradient: `"identity"`: passes everywhere; `"clipped"`: where chosen and 0 < code < 1.

    Returns:
        `chosen` in the dtype of `code`, attached to it.
    """
    clipped = chosen & (code > 0) & (code < 1)
    passes = torch.ones_like(chosen) if gradient == "identity" else clipped
    return _StraightThrough.apply(code, chosen, passes)
