"""A critic: two plain networks of an observation and an action."""

from dataclasses import dataclass

import torch
from torch import nn


class Twins(nn.Module):
    """Two members of one hidden layer each."""

    def __init__(self, sizes, width):
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(nn.Linear(sizes, width), nn.SiLU(), nn.Linear(width, 1)) for _ in range(2)
        )

    def forward(self, observation, action):
        """Values [2, B]."""
        rows = torch.cat([observation, action], -1)
        return torch.stack([member(rows).squeeze(-1) for member in self.members])


@dataclass(frozen=True)
class Example:
    """Twin critics of one hidden layer with smooth activations (SiLU).

    Args:
        width: of the hidden layer, at least 1.
    """

    width: int = 256

    def build(self, in_features, action_dim):
        return Twins(in_features + action_dim, self.width)
