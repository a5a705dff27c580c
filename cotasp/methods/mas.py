"""A pull back to weights on which a policy's outputs depend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cotasp.checks import check_fields
from cotasp.methods.protection import squared_distance
from cotasp.ranges import NonNegative, Range

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.protection import Ending, Now


@dataclass(frozen=True)
class MAS:
    """Pulls weights back in proportion to how much finished policies' outputs depend on them (MAS).

    penalty = weight * sum_i O_i (theta_i - theta*_i)^2, with theta* the weights at the end of the
    last task and O the sum over ends of tasks of
    O_i = E_s |d (||tanh loc(s)||^2 + ||log scale(s)||^2) / d theta_i| (memory-aware synapses, arXiv
    1711.09601, as in Continual World, arXiv 2105.10919).

    Args:
        weight: strength of the pull, at least 0.
        samples: states that the sensitivity is a mean over, in [1, 100000].
    """

    weight: NonNegative = 1.0
    samples: Annotated[int, Range(1, 100_000)] = 256

    def __post_init__(self):
        check_fields(self)

    def penalty(self, now: Now) -> Tensor | None:
        if not now.state or not self.weight:
            return None
        return self.weight * squared_distance(
            now.weights, now.state["anchor"], now.state["sensitivity"]
        )

    def remember(self, ending: Ending) -> dict[str, dict[str, Tensor]]:
        from cotasp.methods.importance import output_sensitivity

        states = ending.rows(self.samples).observation
        total = output_sensitivity(ending.policy, ending.share, states)
        for name, before in ending.state.get("sensitivity", {}).items():
            total[name] += before
        anchor = ending.weights()
        return {"sensitivity": total, "anchor": anchor}
