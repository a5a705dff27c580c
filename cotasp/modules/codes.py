"""A task's codes, and the masks that a mask policy makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cotasp.errors import RecipeError, component_errors, refuse_returned
from cotasp.modules.masks import MaskPolicy
from cotasp.modules.returned import wrong_tensor
from cotasp.modules.shapes import check_widths, split_layers


class CodeTable(nn.Module):
    """One code per task, trainable.

    Args:
        codes: [n_tasks, sum(hidden)], the initial codes, copied; floating point.

    Raises:
        RecipeError: other codes.
    """

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        if not isinstance(codes, Tensor) or codes.ndim != 2 or not codes.is_floating_point():
            got = f"{list(codes.shape)} of {codes.dtype}" if isinstance(codes, Tensor) else codes
            raise RecipeError(
                f"CodeTable.codes: expected a floating point tensor [n_tasks, sum(hidden)], got "
                f"{got!s:.80}"
            )
        self.codes = nn.Parameter(codes.clone())

    def forward(self, task: Tensor) -> Tensor:
        """Codes [*, sum(hidden)] of integer task numbers [*], or [*, 1] of two axes or more."""
        return self.codes[task.squeeze(-1) if task.ndim > 1 and task.shape[-1] == 1 else task]


class LayerMasks(nn.Module):
    """A mask policy applied layer by layer to concatenated codes.

    Args:
        policy: see `cotasp.modules.masks`.
        hidden: widths K_l; codes and masks have sum(hidden) entries.

    Raises:
        RecipeError: a width is not one.
    """

    def __init__(self, policy: MaskPolicy, hidden: Sequence[int]) -> None:
        super().__init__()
        check_widths("LayerMasks", hidden)
        self.policy = policy
        self.hidden = tuple(hidden)

    def forward(self, code: Tensor, progress: float = 1.0) -> Tensor:
        """Masks [*, sum(hidden)] of codes [*, sum(hidden)].

        Raises:
            RecipeError: codes of another length.
            PluginError: the policy raised an error, or returned something of another shape or type.
        """
        layers = split_layers("LayerMasks: code", code, self.hidden)
        return torch.cat([self._checked(layer, progress) for layer in layers], dim=-1)

    def _checked(self, code: Tensor, progress: float) -> Tensor:
        with component_errors("mask", self.policy):
            mask = self.policy(code, progress)
        wrong = wrong_tensor(mask, code.shape, code.dtype)
        kind = str(code.dtype).removeprefix("torch.")
        expected = f"a {kind} tensor of the code's shape {[*code.shape]}"
        refuse_returned("mask", self.policy, "__call__", expected, wrong)
        return mask
