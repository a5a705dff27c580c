"""Acting: one policy, or a random one of several, without the overhead of a distribution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchrl.envs.utils import ExplorationType, exploration_type

Heads = Callable[[Tensor], tuple[Tensor, Tensor]]  # observation -> loc, scale


class ActingPolicy(nn.Module):
    """Chooses actions in [-1, 1] by whatever it was last told to act by.

    TorchRL's exploration type decides between tanh(loc) and a sample.  Observations come from
    and actions go to the environment's device, where the noise is drawn too.

    Args:
        action_dim: size of an action.
        device: where the policies are.
    """

    def __init__(self, action_dim: int, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.action_dim = action_dim
        self.device = device
        # not submodules: a collector must neither copy nor move what the learner trains
        self.__dict__["heads"] = ()

    def act_by(self, *heads: Heads) -> None:
        """Acts by the given policies; among several, one is drawn at every step."""
        self.__dict__["heads"] = heads

    def act_uniformly(self) -> None:
        """Acts uniformly at random."""
        self.act_by()

    @torch.no_grad()
    def forward(self, observation: Tensor) -> Tensor:
        """Actions [*, action_dim] of observations [*, n]."""
        heads = self.heads
        if not heads:
            shape = (*observation.shape[:-1], self.action_dim)
            return torch.rand(shape, device=observation.device) * 2.0 - 1.0
        chosen = heads[0] if len(heads) == 1 else heads[int(torch.randint(len(heads), ()))]
        loc, scale = chosen(observation.to(self.device))
        loc, scale = loc.to(observation.device), scale.to(observation.device)
        if exploration_type() is ExplorationType.RANDOM:
            loc = loc + scale * torch.randn_like(loc)
        return torch.tanh(loc)
