"""Winning sub-networks: weights and the choice among them learned together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cotasp.checks import check_fields
from cotasp.modules.masks import Dense
from cotasp.modules.scored import largest, uniform_scores
from cotasp.ranges import PositiveShare

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class WSN:
    """All units; a task uses a fraction of every matrix, by scores trained beside it (WSN).

    A task's policy has the weights theta * m, where m is 1 for the `density` of a matrix whose
    scores S are largest in size, and dL/dS = sign(S) dL/dm (straight-through).  Weights that
    finished tasks use can be chosen again and stay: theta <- theta - eta g (1 - M), with M the or
    of their m (Winning SubNetworks, Kang et al., ICML 2022, PMLR 162).  Scores step as weights do.
    Biases stay with the first task.  Goes with `freeze` and `by: tasks`.

    Args:
        density: fraction of a matrix, the paper's c, in (0, 1].
    """

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = True
    trains_weights: ClassVar[bool] = True
    density: PositiveShare = 0.5

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        return Dense()(code, progress)

    def first_weight(self, weight: Tensor) -> Tensor:
        return weight

    def first_scores(self, weight: Tensor, kept: Tensor | None, generator: Generator) -> Tensor:
        return uniform_scores(weight, kept, generator)

    def multiplier(self, scores: Tensor) -> Tensor:
        return largest(scores, self.density)
