"""Which finished task's policy earns most in a new task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDictBase


class Trials:
    """Returns of finished tasks' policies, an episode of a new task for each, in turn.

    Args:
        policies: how many.
    """

    def __init__(self, policies: int) -> None:
        self.policies = policies
        self.returns: list[float] = []  # of ended episodes
        self.earned = 0.0  # in the one under way
        self.under_way = False

    @property
    def best(self) -> int | None:
        """The policy of highest return, of equals the latest; None: some have not been tried."""
        return self.best_tried if len(self.returns) == self.policies else None

    @property
    def best_tried(self) -> int | None:
        """The same of those that have been tried; None: there is none."""
        tried = range(len(self.returns))
        return max(tried, key=lambda i: (self.returns[i], i), default=None)

    def add(self, data: TensorDictBase) -> None:
        """Counts transitions [n], in order; `is_init`, if it is there, says which begin an episode
        though the one before was not `done`.
        """
        rewards, ends = (data["next", key].flatten().tolist() for key in ("reward", "done"))
        starts = data.get("is_init", None)
        begins = [False] * len(ends) if starts is None else starts.flatten().tolist()
        for reward, begun, ended in zip(rewards, begins, ends):
            if begun and self.under_way:  # broken off
                self._end()
            self.earned, self.under_way = self.earned + reward, True
            if ended:
                self._end()

    def _end(self) -> None:
        if len(self.returns) < self.policies:
            self.returns.append(self.earned)
        self.earned, self.under_way = 0.0, False

    def state_dict(self) -> dict[str, Any]:
        """What has been earned."""
        returns = torch.tensor(self.returns, dtype=torch.float64)
        return {"returns": returns, "earned": self.earned, "under_way": self.under_way}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.returns = state["returns"].tolist()
        self.earned, self.under_way = float(state["earned"]), bool(state["under_way"])
