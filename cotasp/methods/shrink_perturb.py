"""Weights drawn back towards a fresh network, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotasp.checks import check_fields
from cotasp.ranges import Count, Share

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.renewal import Network


@dataclass(frozen=True)
class ShrinkPerturb:
    """Shrinks all weights and adds freshly drawn ones: theta <- shrink theta + perturb theta'.

    theta' is drawn as the network was at first (shrink and perturb, arXiv 1910.08475, there once
    for new data; in deep reinforcement learning every so many updates, arXiv 2305.19452).  The
    actor alone: critics start anew, or go on, as the agent says.

    Args:
        every: updates of the weights between two, at least 1.
        shrink: in [0, 1].
        perturb: in [0, 1].
    """

    every: Count = 10_000
    shrink: Share = 0.8
    perturb: Share = 0.2

    def __post_init__(self):
        check_fields(self)

    def renew(self, network: Network) -> Mapping[str, Tensor]:
        return {
            name: self.shrink * weight + self.perturb * network.fresh(name)
            for name, weight in network.weights.items()
        }
