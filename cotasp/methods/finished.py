"""The policies of finished tasks under today's weights, which protections hold on to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cotasp.methods.subpolicy import SubPolicy
from cotasp.methods.trained import Objective
from cotasp.modules.ownership import Ownership


class FinishedPolicies:
    """loc, scale of finished tasks, differentiable by the weights in training.

    Args:
        sub: the sub-network in training.
        ownership: shares of the finished tasks.
        action_dim: of the environment.
    """

    def __init__(self, sub: SubPolicy, ownership: Ownership, action_dim: int) -> None:
        self.sub = sub
        self.ownership = ownership
        self.action_dim = action_dim

    def __call__(self, observation: Tensor, task: int | Tensor) -> tuple[Tensor, Tensor]:
        """loc, scale [B, action_dim].

        Args:
            observation: [B, m].
            task: of all rows, or of each, [B].
        """
        if isinstance(task, int):
            return self._of(task, observation)
        places = self.ownership.alike(task)  # one pass for all tasks of equal shares
        if len(places) == 1:
            return self._of(int(task[0]), observation)
        outputs = [self._of(int(task[i[0]]), observation[i]) for i in places]
        back = torch.cat(places).argsort()
        loc, scale = map(torch.cat, zip(*outputs))
        return loc[back], scale[back]

    def _of(self, task: int, observation: Tensor) -> tuple[Tensor, Tensor]:
        return self.sub.of_share(self.ownership.shares[task])(observation)

    def objective(
        self, objective: Objective | None, generator: torch.Generator
    ) -> Callable[[Tensor, int | Tensor], Tensor] | None:
        """An objective as a function of observations and their tasks, its noise drawn here."""
        if objective is None:
            return None

        def of_rows(observation: Tensor, task: int | Tensor) -> Tensor:
            noise = torch.randn((len(observation), self.action_dim), generator=generator)
            return objective(lambda x: self(x, task), observation, noise.to(observation))

        return of_rows
