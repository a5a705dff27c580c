"""What a finished task keeps of the meta-policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cotasp.errors import RecipeError


@dataclass(frozen=True)
class Share:
    """The part of the meta-policy that is a task's own policy.

    A weight of that policy is `own` where it is given, and else the meta-policy's, as it is where
    `scale` is true, and times `rest` where it is not.

    Args:
        units: [sum(hidden)], bool: hidden units, layer by layer.
        head: which head; 0 where all tasks share one.
        scale: bool by parameter's name, of its shape; missing: all true (PackNet, arXiv
            1711.05769).
        own: weights by parameter's name, of its shape, that nobody else reads; missing: the
            meta-policy's.
        rest: 0: such weights are not read.

    Raises:
        RecipeError: units that are no bool vector.
    """

    units: Tensor
    head: int = 0
    scale: Mapping[str, Tensor] = field(default_factory=dict)
    own: Mapping[str, Tensor] = field(default_factory=dict)
    rest: float = 0.0

    def __post_init__(self):
        units = self.units
        if not isinstance(units, Tensor) or units.ndim != 1 or units.dtype != torch.bool:
            got = f"{list(units.shape)} of {units.dtype}" if isinstance(units, Tensor) else units
            raise RecipeError(
                f"Share.units: expected a bool tensor [sum(hidden)], got {got!s:.80}; of a mask it "
                f"is `mask > 0`"
            )

    def weights(self, full: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The policy's weights, in the meta-policy's shapes.

        Args:
            full: the meta-policy's, by parameter's name.
        """
        factors = multipliers(self.scale, self.rest, full)
        scaled = {name: full[name] * factor for name, factor in factors.items()}
        return {**full, **scaled, **self.own}

    def equals(self, other: Share) -> bool:
        """Whether the other is the same policy; one with multipliers or weights is never."""
        special = bool(self.scale or self.own or other.scale or other.own)
        return not special and self.head == other.head and torch.equal(self.units, other.units)


def multipliers(
    scale: Mapping[str, Tensor], rest: float, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What weights are multiplied by: 1 where `scale` is true, `rest` where it is not.

    Args:
        scale: bool, by parameter's name, of its shape.
        rest: a number.
        weights: of whose type multipliers are, by name.
    """
    ends = {name: weights[name].new_tensor([rest, 1.0]) for name in scale}
    return {name: torch.where(kept, ends[name][1], ends[name][0]) for name, kept in scale.items()}
