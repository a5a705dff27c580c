"""Supermasks in superposition: random weights, of which every task chooses its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cotasp.checks import check_fields
from cotasp.modules.masks import Dense
from cotasp.modules.scored import largest, uniform_scores
from cotasp.ranges import PositiveShare

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class SupSup:
    """All units, random weights that never move; a task learns which of them it uses (SupSup).

    A task's policy has the weights theta * m, where theta = +-sqrt(2 / (density * fan_in)) stays
    as it began and m is 1 for the `density` of a matrix whose scores S are largest in size; only S
    trains, dL/dS = sign(S) dL/dm (arXiv 2006.14769, with the edge-popup of arXiv 1911.13299; tasks
    are told, the case that it calls GG).  Scores step by Adam as weights elsewhere; biases stay 0;
    a head of a task's own trains as ever.  Nothing that is shared moves, so that it forgets nothing
    without protection.

    Args:
        density: fraction of a matrix, in (0, 1].
    """

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = True
    trains_weights: ClassVar[bool] = False
    density: PositiveShare = 0.5

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        return Dense()(code, progress)

    def first_weight(self, weight: Tensor) -> Tensor:
        return weight.sign() * math.sqrt(2.0 / (self.density * weight.shape[-1]))

    def first_scores(self, weight: Tensor, kept: Tensor | None, generator: Generator) -> Tensor:
        return uniform_scores(weight, kept, generator)

    def multiplier(self, scores: Tensor) -> Tensor:
        return largest(scores, self.density)
