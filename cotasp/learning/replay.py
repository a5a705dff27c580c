"""The replay buffer of one task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from cotasp.learning.losses import Batch

if TYPE_CHECKING:
    from cotasp.learning.agent import Problem
    from cotasp.learning.sac import SAC


class Replay:
    """TorchRL's replay buffer, holding what the losses need and no more.

    Args:
        settings: capacity, batch size, reward scale.
        problem: device and seed.
        task: number of the task, which varies the sampling.
    """

    def __init__(self, settings: SAC, problem: Problem, task: int) -> None:
        self.batch_size = settings.batch_size
        self.reward_scale = settings.reward_scale
        self.buffer = TensorDictReplayBuffer(
            storage=LazyTensorStorage(settings.buffer_size, device=problem.device),
            generator=torch.Generator().manual_seed(problem.seed * 10_007 + task),
        )

    def __len__(self) -> int:
        return len(self.buffer)

    def extend(self, data: TensorDictBase) -> None:
        """Adds transitions [n] as a collector gives them."""
        following = data["next"]
        columns = {
            "observation": data["observation"],
            "action": data["action"],
            "reward": following["reward"].squeeze(-1) * self.reward_scale,
            "next_observation": following["observation"],
            "terminated": following["terminated"].squeeze(-1).float(),
        }
        self.buffer.extend(TensorDict(columns, batch_size=data.batch_size))

    def sample(self, size: int | None = None) -> Batch:
        """A batch drawn uniformly with replacement, of the usual size unless told."""
        sample = self.buffer.sample(size or self.batch_size)
        return Batch(*(sample[key] for key in Batch._fields))
