"""Masks that are learned together with the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from cotasp.checks import check_fields
from cotasp.ranges import NonNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.modules.mask_capabilities import Beginning


@dataclass(frozen=True)
class HAT:
    """phi = sigmoid(s e), trained together with the weights (HAT, arXiv 1801.01423).

    s grows linearly with a task's progress from 1 / s_max to s_max; a finished task has the units
    with e > 0.  The actor's loss gets sparsity * sum phi (1 - owned) / sum (1 - owned): new units
    cost, those of finished tasks are free.  The settings are those of CoTASP's authors for SAC; as
    there, and other than in the paper, gradients of e are not compensated, which Adam would undo.
    Goes with `freeze` and codes that no dictionary has to give back (`dictionary.update: frozen`).

    Args:
        s_max: the largest scale, above 0.
        sparsity: weight of the cost of units, at least 0.
        bound: entries of e stay in [-bound, bound].
        first: what e begins as: `"normal"`: N(0, 1); `"prompt"`: 1 for the units of the text's
            prompt and -1 for the others (ours).
    """

    gradient: ClassVar[str] = "smooth"
    local: ClassVar[bool] = True
    s_max: Positive = 200.0
    sparsity: NonNegative = 0.01
    bound: Positive = 6.0
    first: Literal["normal", "prompt"] = "normal"

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        if progress >= 1.0:
            return (code > 0).to(code.dtype)
        low = 1.0 / self.s_max
        return ((low + (self.s_max - low) * progress) * code).sigmoid()

    def first_code(self, task: Beginning) -> Tensor:
        import torch

        if self.first == "prompt":
            return torch.where(task.prompt > 0, 1.0, -1.0).to(task.prompt)
        return torch.randn(task.prompt.shape, generator=task.generator).to(task.prompt)

    def cost(self, mask: Tensor, owned: Tensor) -> Tensor:
        free = 1.0 - owned.to(mask.dtype)
        return self.sparsity * (mask * free).sum() / free.sum().clamp(min=1.0)

    def clamp_(self, code: Tensor) -> None:
        code.clamp_(-self.bound, self.bound)
