"""Freezing, and no protection at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from cotasp.checks import check_fields

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.modules.ownership import Ownership
    from cotasp.modules.policy import MetaPolicy


@dataclass(frozen=True)
class Freeze:
    """Freezes the weights that finished tasks use: forgets nothing.

    theta <- theta + eta g * (1 - used).  By owners, a weight counts as used when its two ends are
    owned, be it by different tasks: 1 - min(owned_{l-1}, owned_l) (CoTASP, arXiv 2305.18444,
    Eq. 4).  By tasks, when some one finished task uses it, which is all that its policy reads:
    max_t min(phi_{t,l-1}, phi_{t,l}); fewer weights are frozen, and forgetting is still exactly 0.

    Args:
        by: `"owners"`, the paper's, or `"tasks"`.
        guard_log_std: whether the log-std head is guarded too.  False reproduces the reference
            code, whose finished tasks keep their mean action but not their action noise.
    """

    by: Literal["owners", "tasks"] = "owners"
    guard_log_std: bool = True

    def __post_init__(self):
        check_fields(self)

    @property
    def single_weights(self) -> bool:
        """Whether a weight that no finished task uses stays free, whatever its ends."""
        return self.by == "tasks"

    def guard(self, policy: MetaPolicy, ownership: Ownership) -> dict[str, Tensor] | None:
        if not ownership.finished.any():
            return None
        return ownership.guard(policy, by=self.by, log_std=self.guard_log_std)


@dataclass(frozen=True)
class Unprotected:
    """Keeps nothing: plain fine-tuning."""

    alone: ClassVar[bool] = True

    def guard(self, policy: MetaPolicy, ownership: Ownership) -> dict[str, Tensor] | None:
        return None
