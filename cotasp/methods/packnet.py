"""Pruning at a task's end, so that the next one has weights to train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from cotasp.checks import check_fields
from cotasp.modules.masks import Dense
from cotasp.ranges import Range

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PackNet:
    """All units; at its end a task keeps its share of the free weights, the largest (PackNet).

    Of the weights of a matrix that no finished task uses, a task keeps the 1 / (tasks left) of
    largest size and trains on with these alone; the rest is set to 0 for the tasks to come.  Biases
    stay with the first task.  Heads are shared and packed like other layers.  Goes with `freeze`
    and `by: tasks` (arXiv 1711.05769; shares as in Continual World, arXiv 2105.10919).

    Args:
        retrain: updates after pruning, as a fraction of the task's, at least 0.
    """

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = True
    retrain: Annotated[float, Range(0, 10)] = 0.1

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        return Dense()(code, progress)

    def keep(
        self,
        weights: Mapping[str, Tensor],
        used: Mapping[str, Tensor],
        tasks_left: int,
        updates: int,
    ) -> tuple[dict[str, Tensor], int]:
        masks = {}
        for name, weight in weights.items():
            free = ~used[name]
            count = round(int(free.sum()) / tasks_left)
            if weight.ndim < 2 or tasks_left == 1:
                masks[name] = free | used[name]
                continue
            sizes = weight.abs().masked_fill(~free, -1.0).flatten()
            largest = sizes.argsort(descending=True)[:count]
            mine = free.new_zeros(free.numel())
            mine[largest] = True
            masks[name] = mine.view_as(free) | used[name]
        return masks, round(self.retrain * updates) if tasks_left > 1 else 0
