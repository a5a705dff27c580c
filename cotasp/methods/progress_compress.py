"""A column that learns, and one that knows: what the first has learned, the second is taught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.modules.masks import Dense
from cotasp.ranges import Range

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.modules.policy import MetaPolicy
    from cotasp.modules.specs import ActorSpec


@dataclass(frozen=True)
class ProgressCompress:
    """A task trains an active column, then a knowledge base learns to act like it (P&C).

    The first half of every layer's units is the knowledge base, the other one the active column,
    which reads the base by lateral connections and is never read by it.  Until its end a task
    trains the active column alone, drawn anew (progress).  Then the base learns it, by

        E_s KL(pi_active(.|s) || pi_base(.|s)) + the penalties of the protections,

    over states of the task's memory (compress), and is what the task keeps (arXiv 1805.06370).
    Goes with `ewc`, whose `decay` and `normalise` make the paper's online EWC, a head per task, and
    an actor that is not normalised over both columns (`actor.norm: none`).

    Args:
        compress: updates of the base, as a share of those of the active column, above 0.
    """

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = True
    imitates: ClassVar[bool] = True
    compress: Annotated[float, Range(0, 10, above=True)] = 0.5

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        return Dense()(code, progress)

    def check_actor(self, actor: ActorSpec) -> None:
        """The base computes the same with the active column and without, and has room for both."""
        if actor.norm != "none":
            raise RecipeError(
                f"actor.norm: expected none, for a knowledge base is to compute the same beside "
                f"an active column and alone, got {actor.norm}, which normalises over both"
            )
        if actor.heads != "per_task":
            raise RecipeError(
                f"actor.heads: expected per_task, for nothing holds a shared head while a task "
                f"trains its active column, got {actor.heads}"
            )
        if min(actor.hidden) < 2:
            raise RecipeError("actor.hidden: expected at least 2 units in every layer, got 1")

    def wires(self, policy: MetaPolicy, tasks: int) -> dict[str, Tensor]:
        factors = {}
        for name, weight in policy.named_parameters():
            if name.startswith("body.") and weight.ndim == 2 and not _first(name):
                above, below = _base(weight, 0)[:, None], _base(weight, 1)
                factor = weight.new_ones(weight.shape)  # from the base to the active column
                factor[above == below] = 2**0.5  # within either, as in a network of its width
                factor[above & ~below] = 0.0
                factors[name] = factor
        return factors

    def workspace(self, policy: MetaPolicy) -> dict[str, Tensor]:
        body = {k: p for k, p in policy.named_parameters() if k.startswith("body.")}
        return {name: _rows(~_base(weight, 0), weight) for name, weight in body.items()}

    def keep(
        self,
        weights: Mapping[str, Tensor],
        used: Mapping[str, Tensor],
        tasks_left: int,
        updates: int,
    ) -> tuple[dict[str, Tensor], int]:
        body = {name: weight for name, weight in weights.items() if name.startswith("body.")}
        kept = {name: _rows(_base(weight, 0), weight) for name, weight in body.items()}
        return kept, round(self.compress * updates)


def _first(name: str) -> bool:
    """Whether a parameter's columns are inputs."""
    return name.startswith("body.layers.0.")


def _base(weight: Tensor, axis: int) -> Tensor:
    """Which rows, or columns, of a weight belong to the knowledge base, bool."""
    import torch

    width = weight.shape[axis]
    return torch.arange(width, device=weight.device) < (width + 1) // 2


def _rows(chosen: Tensor, weight: Tensor) -> Tensor:
    """True in chosen rows, of a weight's shape."""
    return chosen.view(-1, *[1] * (weight.ndim - 1)).expand(weight.shape).clone()
