"""Gradients that are not to undo what earlier tasks want."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cotasp.checks import check_fields
from cotasp.ranges import Range

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.protection import Now


@dataclass(frozen=True)
class AGEM:
    """Projects the actor's gradient where it would raise the loss on old states (A-GEM).

    g <- g - (g . r / r . r) r if g . r < 0, with r the gradient of the agent's own loss on states
    of finished tasks, by the critics of now (arXiv 1812.00420, Eq. 11).  Critics are left alone:
    their step comes before the actor's, so that one product over all three, as in Continual World,
    does not exist here.

    Args:
        rehearsal: rows of finished tasks per update, at least 1.
    """

    rehearsal: Annotated[int, Range(1, 100_000)] = 128

    def __post_init__(self):
        check_fields(self)

    def transform(self, gradients: Mapping[str, Tensor], now: Now) -> Mapping[str, Tensor]:
        import torch

        rows = now.rehearsal
        if rows is None or now.objective is None:
            return gradients
        loss = now.objective(rows.batch.observation, rows.task)
        names = list(gradients)
        slopes = torch.autograd.grad(loss, [now.weights[k] for k in names], materialize_grads=True)
        reference = dict(zip(names, slopes))
        along = sum((gradients[k] * g).sum() for k, g in reference.items())
        if along >= 0:
            return gradients
        length = sum(g.square().sum() for g in reference.values())
        return {k: g - along / length * reference[k] for k, g in gradients.items()}
