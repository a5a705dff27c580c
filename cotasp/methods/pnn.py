"""A column of units per task, which reads those of the tasks before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.modules.mask_capabilities import Beginning
    from cotasp.modules.policy import MetaPolicy
    from cotasp.modules.specs import ActorSpec


@dataclass(frozen=True)
class PNN:
    """Task k has the columns 0 to k of every layer and trains its own (progressive networks).

    h^k_l = f(sum_{j <= k} W^{k,j}_l h^j_{l-1}), where W^{k,k} is column k's own and W^{k,j} its
    lateral connection from an earlier column (arXiv 1606.04671, Eq. 1); the head reads all columns.
    The columns lie side by side in one network, a T-th of every hidden layer each; what would lead
    from a later column to an earlier one is not there.  A column's own weights begin as those of a
    network of its width, lateral ones with the variance of one as wide as all columns.  Goes with
    `freeze` and a network whose first layer is not normalised over all columns (`actor.norm:
    none`).
    """

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = True

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        return (code.detach() > 0).to(code.dtype)

    def check_actor(self, actor: ActorSpec) -> None:
        """Columns compute what they did in their own tasks."""
        if actor.norm != "none":
            raise RecipeError(
                f"actor.norm: expected none, for PNN's columns are to give later tasks what they "
                f"gave their own, got {actor.norm}, which normalises over all active units"
            )

    def first_code(self, task: Beginning) -> Tensor:
        import torch

        columns = [_columns(width, task.tasks) for width in task.hidden]
        return (torch.cat(columns) <= task.number).to(task.prompt)

    def wires(self, policy: MetaPolicy, tasks: int) -> dict[str, Tensor]:
        import torch

        from cotasp.modules.subnetwork import unit_axes

        hidden, like = policy.hidden, policy.mean.weight
        if min(hidden) < tasks:
            raise RecipeError(
                f"recipe.actor.hidden: expected at least {tasks} units in every layer, one for "
                f"each task's column, got {min(hidden)}"
            )
        columns = [_columns(width, tasks).to(like.device) for width in hidden]
        factors = {}
        for name, (above, below) in unit_axes(policy).items():
            if below is None or above is None or above == len(hidden):
                continue
            apart = columns[above][:, None] - columns[below]
            own = torch.where(apart == 0, tasks**0.5, 0.0)
            factors[name] = torch.where(apart > 0, 1.0, own).to(like)
        return factors


def _columns(width: int, tasks: int) -> Tensor:
    """The number of the column that each of a layer's units is in, [width], int64."""
    import torch

    return torch.arange(width) * tasks // width
