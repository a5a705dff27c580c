"""What an update learns from."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Rows of n-step returns; of several learners, [learners, B, *].

    Args:
        observation: [B, observation_dim].
        action: [B, action_dim] in [-1, 1].
        reward: [B], what the row's steps earned: sum_k gamma^k r_k.
        next_observation: after the row's last step.
        discount: [B], what a unit of the next state's value is worth now: gamma^steps, and 0 where
            the episode terminated; time limits do not count.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    discount: Tensor


class Rehearsal(NamedTuple):
    """Rows of finished tasks, and what their policies did there when the tasks ended.

    Args:
        batch: the rows, columns [n, *].
        task: number of each row's task, [n], int64.
        loc, scale: of its action before the squashing, [n, action_dim].
    """

    batch: Batch
    task: Tensor
    loc: Tensor
    scale: Tensor
