"""A lasso solver: proximal gradient, one step after the other."""

from dataclasses import dataclass
from typing import ClassVar

import torch


@dataclass(frozen=True)
class Example:
    """Iterative soft thresholding (ISTA), Daubechies et al. 2004.

    Args:
        tol: distance from optimality to reach, as a share of lmbda.
        max_iter: most steps.
    """

    tol: float = 1e-6
    max_iter: int = 2_000
    supports_positive: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def __call__(self, X, dictionary, *, lmbda, positive, init):
        step = 1 / torch.linalg.matrix_norm(dictionary, 2) ** 2
        code = X @ dictionary.mT * 0 if init is None else init
        count = 0
        while count < self.max_iter:
            count, before = count + 1, code
            code = before + step * (X - before @ dictionary) @ dictionary.mT
            if positive:
                code = (code - step * lmbda).clamp(min=0)
            else:
                code = torch.nn.functional.softshrink(code, float(step * lmbda))
            # the distance from optimality is at most twice the move over the step
            if ((code - before).norm(dim=1) <= 0.5 * self.tol * lmbda * step).all():
                break
        return code, torch.full((len(X),), count)
