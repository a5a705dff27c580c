"""Dormant units renewed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotasp.checks import check_fields
from cotasp.methods.renewal import free_units, renew_units
from cotasp.ranges import Count, ShareBelowOne

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.renewal import Network


@dataclass(frozen=True)
class ReDo:
    """Recycles dormant units: incoming weights drawn anew, outgoing ones 0 (ReDo).

    A unit is dormant when its mean size on a batch, over the mean of its layer, is at most
    `threshold` (arXiv 2302.12902).  A unit with a guarded weight is left alone, since half of it
    could not be renewed.

    Args:
        every: updates of the weights between two looks.
        threshold: in [0, 1).
    """

    every: Count = 1000
    threshold: ShareBelowOne = 0.025

    def __post_init__(self):
        check_fields(self)

    def renew(self, network: Network) -> Mapping[str, Tensor]:
        new = {name: weight.clone() for name, weight in network.weights.items()}
        outputs = network.activations(network.observations)
        for layer, output in enumerate(outputs):
            size = output.abs().mean(0)
            dormant = size <= self.threshold * size.mean()
            renew_units(network, new, layer, dormant & free_units(network, layer))
        return new
