"""Imitation of what finished tasks' policies did as they ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from cotasp.checks import check_fields
from cotasp.ranges import NonNegative, Range

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.protection import Now


@dataclass(frozen=True)
class Cloning:
    """Holds every finished task's policy to what it was on kept states (behaviour cloning).

    penalty = weight * mean over rows and action dimensions of KL, between the Gaussians N(loc,
    scale^2) before the squashing, which does not change it, of the policy as its task ended and of
    the same task's policy with the weights of now (ClonEx-SAC, arXiv 2209.13900).  What the
    policies did is kept when they end and never computed anew.

    Args:
        weight: strength, at least 0.
        kl: `"forward"`: KL(as it ended || now), as CLEAR (arXiv 1811.11682) and COOM have it;
            `"reverse"`: KL(now || as it ended).
        rehearsal: rows of finished tasks per update, at least 1.
    """

    asks: ClassVar[tuple[str, ...]] = ("policy",)

    weight: NonNegative = 1.0
    kl: Literal["forward", "reverse"] = "forward"
    rehearsal: Annotated[int, Range(1, 100_000)] = 128

    def __post_init__(self):
        check_fields(self)

    def penalty(self, now: Now) -> Tensor | None:
        from cotasp.modules.policy import gaussian_kl

        rows = now.rehearsal
        if rows is None or not self.weight:
            return None
        ended = rows.loc, rows.scale
        today = now.policy(rows.batch.observation, rows.task)
        pair = (*ended, *today) if self.kl == "forward" else (*today, *ended)
        return self.weight * gaussian_kl(*pair).mean()
