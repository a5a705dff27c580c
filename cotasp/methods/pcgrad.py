"""Gradients of several tasks that are not to undo each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from cotasp.methods.protection import Now


@dataclass(frozen=True)
class PCGrad:
    """Projects tasks' gradients off each other where they conflict, for tasks learned together.

    Every task's gradient g_i of the actor's loss becomes, for the other tasks j in random order,
    g_i - (g_i . g_j / g_j . g_j) g_j if g_i . g_j < 0, with g_j as it was; the step is down their
    sum (PCGrad, arXiv 2001.06782, algorithm 1).  Tasks are weighted by their rows in the batch, so
    that without conflicts nothing changes.  Critics are left alone.  Takes `stream.together`.
    """

    asks: ClassVar[tuple[str, ...]] = ("parts",)

    def transform(self, gradients: Mapping[str, Tensor], now: Now) -> Mapping[str, Tensor]:
        import torch

        if now.parts is None:
            return gradients
        names = list(gradients)
        parts = [torch.cat([part[k].flatten() for k in names]) for part in now.parts()]
        off = projected(parts, now.generator)
        change = torch.stack(off).sum(0) - torch.stack(parts).sum(0)
        pieces = change.split([gradients[k].numel() for k in names])
        return {k: gradients[k] + piece.view_as(gradients[k]) for k, piece in zip(names, pieces)}


def projected(parts: Sequence[Tensor], generator: Generator) -> list[Tensor]:
    """Gradients [n] each, off those of the others that they conflict with.

    Args:
        parts: of the tasks.
        generator: of the order in which a task meets the others.
    """
    import torch

    result = []
    for i, part in enumerate(parts):
        for j in torch.randperm(len(parts), generator=generator).tolist():
            along = part @ parts[j]
            if j != i and along < 0:
                part = part - along / (parts[j] @ parts[j]) * parts[j]
        result.append(part)
    return result
