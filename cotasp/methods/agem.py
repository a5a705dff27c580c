"""Gradients that are not to undo what earlier tasks want."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.protection import Ending, Now


@dataclass(frozen=True)
class AGEM:
    """Projects the actor's gradient where it would raise the loss on old states (A-GEM).

    g <- g - (g . r / r . r) r if g . r < 0, with r the gradient of the agent's own loss on states
    of finished tasks, by the critics of now (arXiv 1812.00420, Eq. 11).  Critics are left alone.

    Args:
        size: states kept per finished task.
        batch: of them, drawn over all finished tasks for every update.
    """

    size: int = 10_000
    batch: int = 128

    def __post_init__(self):
        for name in ("size", "batch"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name}: expected at least 1, got {getattr(self, name)}")

    def remember(self, ending: Ending) -> dict[str, dict[str, Tensor]]:
        kept = dict(ending.state.get("states", {}))
        kept[str(ending.task)] = ending.rows(self.size).observation.clone()
        return {"states": kept}

    def transform(self, gradients: Mapping[str, Tensor], now: Now) -> Mapping[str, Tensor]:
        import torch

        states = now.state.get("states", {})
        if not states or now.objective is None:
            return gradients
        drawn = torch.randint(len(states), (self.batch,), generator=now.generator)
        loss = torch.zeros(())
        for i, (task, rows) in enumerate(states.items()):
            count = int((drawn == i).sum())
            if count:
                places = torch.randint(len(rows), (count,), generator=now.generator)
                loss = loss + now.objective(rows[places.to(rows.device)], int(task)) * count
        names = list(gradients)
        asked = torch.autograd.grad(loss, [now.weights[k] for k in names], allow_unused=True)
        reference = {k: g for k, g in zip(names, asked) if g is not None}
        along = sum(float((gradients[k] * g).sum()) for k, g in reference.items())
        if along >= 0:
            return gradients
        length = sum(float(g.square().sum()) for g in reference.values())
        return {
            k: g - along / length * reference[k] if k in reference else g
            for k, g in gradients.items()
        }
