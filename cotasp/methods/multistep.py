"""Returns of several steps, made of transitions as they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cotasp.errors import RunError
from cotasp.methods.problem import Problem
from cotasp.storage.tensors import check_shapes

_COLUMNS = ("observation", "action", "reward", "next_observation", "terminated", "done", "is_init")


def fitted_discount(problem: Problem) -> float:
    """gamma, per transition, that fits the length of the problem's episodes.

    1 - 2 / transitions, in [0.95, 0.995]: rewards half an episode away count a third, as in
    TD-MPC2's rule (arXiv 2310.16828), which has 5 for 2.  0.99 where the length is unknown.
    """
    if problem.horizon is None:
        return 0.99
    return min(max(1.0 - 2.0 * problem.action_repeat / problem.horizon, 0.95), 0.995)


class MultiStep:
    """Makes rows of n-step returns (Watkins 1989; for replay, Rainbow, arXiv 1710.02298).

    A row is about the n steps from one on, or the m < n that the episode still had:

        reward = sum_{k<m} gamma^k r_k,  discount = gamma^m, or 0 where the episode terminated,

    so that its target is reward + discount * V(observation after the m-th).  At a time limit
    the value of the last observation counts.  A row is returned as soon as its steps are known;
    what waits is `pending`, which belongs in a checkpoint.  As in Rainbow, rewards come from
    whatever policy acted, and the entropy of steps 2 to m is left out.

    Args:
        n: steps, at least 1.
        gamma: discount factor per step.
    """

    def __init__(self, n: int, gamma: float) -> None:
        self.n = n
        self.gamma = gamma
        self.pending: dict[str, Tensor] = {}

    def __call__(self, steps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The rows that these steps complete.

        Args:
            steps: `observation`, `action`, `next_observation` [n, *], `reward` [n], and bool [n]
                `terminated`, `done` and `is_init`, true where an episode begins: there the one
                before ends, even if it was broken off without being `done`.

        Returns:
            `observation`, `action`, `reward`, `next_observation`, `discount` [rows, *].
        """
        if self.pending:
            steps = {key: torch.cat([self.pending[key], steps[key]]) for key in _COLUMNS}
        total = len(steps["reward"])
        ends = steps["done"].clone()
        ends[:-1] |= steps["is_init"][1:]
        first = torch.arange(total, device=ends.device)
        last = first.clone()  # step of each row
        reward = steps["reward"].clone()
        discount = torch.full_like(reward, self.gamma)
        goes_on = ~ends
        for _ in range(1, self.n):
            goes_on &= last < total - 1
            last = torch.where(goes_on, last + 1, last)
            reward = torch.where(goes_on, reward + discount * steps["reward"][last], reward)
            discount = torch.where(goes_on, discount * self.gamma, discount)
            goes_on &= ~ends[last]
        # rows still waiting for steps are the last ones
        ready = int((ends[last] | (last - first == self.n - 1)).sum())
        self.pending = {key: steps[key][ready:].clone() for key in _COLUMNS}
        last = last[:ready]
        return {
            "observation": steps["observation"][:ready],
            "action": steps["action"][:ready],
            "reward": reward[:ready],
            "next_observation": steps["next_observation"][last],
            "discount": torch.where(steps["terminated"][last], 0.0, discount[:ready]),
        }

    def load_pending(self, pending: Mapping[str, Tensor], row: Mapping[str, Sequence[int]]) -> None:
        """Takes back, as a copy, the `pending` of another.

        Args:
            pending: none, or fewer than n steps.
            row: shapes of a row's columns.

        Raises:
            RunError: it is of other columns, shapes or numbers of steps.
        """
        count = len(pending["reward"]) if "reward" in pending else 0
        shapes = {name: (count, *row.get(name, ())) for name in _COLUMNS if pending}
        numbers = {k: v.float() if v.dtype == torch.bool else v for k, v in pending.items()}
        check_shapes("buffer pending", numbers, shapes)
        if count >= self.n:
            raise RunError(f"buffer pending: expected fewer than {self.n} steps, got {count}")
        self.pending = {name: column.clone() for name, column in pending.items()}
