"""What a finished task keeps of the meta-policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The part of the meta-policy that is a task's own policy.

    A weight of that policy is `own` where it is given, and else the meta-policy's, times `scale`.

    Args:
        units: [sum(hidden)], bool: hidden units, layer by layer.
        head: which head; 0 where all tasks share one.
        scale: bool multipliers of weights by parameter's name, of its shape; missing: 1 (PackNet,
            arXiv 1711.05769).
        own: weights by parameter's name, of its shape, that nobody else reads; missing: the
            meta-policy's.
    """

    units: Tensor
    head: int = 0
    scale: Mapping[str, Tensor] = field(default_factory=dict)
    own: Mapping[str, Tensor] = field(default_factory=dict)

    def weights(self, full: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The policy's weights, in the meta-policy's shapes.

        Args:
            full: the meta-policy's, by parameter's name.
        """
        scaled = {name: full[name] * factor for name, factor in self.scale.items()}
        return {**full, **scaled, **self.own}

    def equals(self, other: Share) -> bool:
        """Whether the other is the same policy; one with multipliers or weights is never."""
        special = bool(self.scale or self.own or other.scale or other.own)
        return not special and self.head == other.head and torch.equal(self.units, other.units)
