"""A task's codes, and the masks that a mask policy makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cotasp.errors import calling, refuse_returned
from cotasp.modules.masks import MaskPolicy


class CodeTable(nn.Module):
    """One code per task, trainable.

    Args:
        codes: [n_tasks, sum(hidden)], the initial codes, copied.
    """

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.codes = nn.Parameter(codes.clone())

    def forward(self, task: Tensor) -> Tensor:
        """Codes [*, sum(hidden)] of integer task numbers [*], or [*, 1] of two axes or more."""
        return self.codes[task.squeeze(-1) if task.ndim > 1 and task.shape[-1] == 1 else task]


class LayerMasks(nn.Module):
    """A mask policy applied layer by layer to concatenated codes.

    Args:
        policy: see `cotasp.modules.masks`.
        hidden: widths K_l; codes and masks have sum(hidden) entries.
    """

    def __init__(self, policy: MaskPolicy, hidden: Sequence[int]) -> None:
        super().__init__()
        self.policy = policy
        self.hidden = tuple(hidden)

    def forward(self, code: Tensor, progress: float = 1.0) -> Tensor:
        """Masks [*, sum(hidden)] of codes [*, sum(hidden)]."""
        layers = code.split(self.hidden, dim=-1)
        with calling("mask", self.policy):
            masks = torch.cat([self.policy(layer, progress) for layer in layers], dim=-1)
        wrong = None if masks.shape == code.shape else f"shapes that add up to {list(masks.shape)}"
        refuse_returned("mask", self.policy, "__call__", "an entry per entry of the code", wrong)
        return masks
