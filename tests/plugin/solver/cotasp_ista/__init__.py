"""A third-party lasso solver: all that a plug-in needs."""

from dataclasses import dataclass
from typing import ClassVar

import torch


@dataclass(frozen=True)
class Ista:
    """Proximal gradient without momentum, Daubechies et al. 2004."""

    tol: float = 1e-6
    max_iter: int = 2_000
    supports_positive: ClassVar[bool] = False
    exact: ClassVar[bool] = True

    def __call__(self, X, dictionary, *, lmbda, positive, init):
        step = 1 / torch.linalg.matrix_norm(dictionary, 2) ** 2
        code = X @ dictionary.mT * 0 if init is None else init
        for _ in range(self.max_iter):
            u = code + step * (X - code @ dictionary) @ dictionary.mT
            code = torch.nn.functional.softshrink(u, float(step * lmbda))
        return code, torch.full((len(X),), self.max_iter)
