"""The code of the task in training: the numbers that its mask is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cotasp.errors import component_errors
from cotasp.methods.adam import Adam
from cotasp.modules.codes import LayerMasks
from cotasp.modules.mask_capabilities import Learned
from cotasp.storage.tensors import check_shapes


class TaskCode:
    """A task's code, with its optimiser and the mask that it stands for.

    Args:
        values: to begin with, [sum(hidden)]; copied.
        masks: from code to mask.
        learning_rate: Adam's.
    """

    def __init__(self, values: Tensor, masks: LayerMasks, learning_rate: float) -> None:
        self.parameter = nn.Parameter(values.clone())
        self.masks = masks
        self.learned = masks.policy if isinstance(masks.policy, Learned) else None
        self.optimiser = Adam([self.parameter], learning_rate)

    def mask(self, progress: float) -> Tensor:
        """The mask [sum(hidden)] of now, attached to the code.

        Args:
            progress: of the task, in [0, 1].
        """
        return self.masks(self.parameter, progress)

    @torch.no_grad()
    def final_mask(self) -> Tensor:
        """The binary mask that the task would keep if it ended now, [sum(hidden)]."""
        return self.masks(self.parameter.detach())

    def cost(self, progress: float, owned: Tensor) -> Tensor | float:
        """What a mask that is learned costs; 0 for others.

        Args:
            progress: of the task, in [0, 1].
            owned: units of other tasks, bool [sum(hidden)].
        """
        if self.learned is None:
            return 0.0
        with component_errors("mask", self.learned):
            return self.learned.cost(self.mask(progress), owned)

    def step(self, gradient: Tensor) -> None:
        """One step that leaves every layer a unit."""
        before = self.parameter.detach().clone()
        self.optimiser.step([gradient])
        with torch.no_grad():
            if self.learned is not None:
                self.learned.clamp_(self.parameter)
            split = (
                x.split(self.masks.hidden) for x in (self.parameter, self.final_mask(), before)
            )
            for code, mask, old in zip(*split):
                if not mask.any():
                    code.copy_(old)  # a layer must not be switched off altogether

    def state_dict(self) -> dict[str, Any]:
        """Code and moments."""
        return {
            "code": self.parameter.detach(),
            "code_optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave.

        Raises:
            RunError: a code of another length.
        """
        check_shapes("task", {"code": state["code"]}, {"code": self.parameter.shape})
        with torch.no_grad():
            self.parameter.copy_(state["code"])
        self.optimiser.load_state_dict(state["code_optimiser"])
