"""Lasso problems and an optimality check written apart from the library's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cotasp.registry import KINDS

OURS = ("lars", "fista", "cd")


def installed_solvers() -> list[str]:
    """Every registered solver whose library is there."""
    names = KINDS["solver"].names()
    try:
        import celer  # noqa: F401
    except ImportError:
        names.remove("celer")
    return names


def problem(n: int, K: int, m: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit-norm Gaussian targets [n, m] and atoms [K, m], float64."""
    random = np.random.default_rng(seed)
    X, D = random.standard_normal((n, m)), random.standard_normal((K, m))
    X, D = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (X, D))
    return torch.from_numpy(X), torch.from_numpy(D)


def largest(X: Tensor, D: Tensor) -> float:
    """Smallest lmbda at which the codes of all rows are zero."""
    return float((X @ D.mT).abs().max())


def violation(X: Tensor, D: Tensor, code: Tensor, lmbda: float, positive: bool = False) -> float:
    """Largest distance of g = D(x − sD) from lmbda·∂||s||₁, by its intervals, as share of lmbda."""
    x, d, s = (a.double().numpy() for a in (X, D, code))
    g = (x - s @ d) @ d.T / lmbda
    low = np.where(s > 0, 1.0, -np.inf if positive else -1.0)
    high = np.where(s < 0, -1.0, 1.0)
    if positive:
        assert s.min(initial=0.0) >= 0
    return float(np.maximum(np.maximum(low - g, g - high), 0.0).max(initial=0.0))


def objective(X: Tensor, D: Tensor, code: Tensor, lmbda: float) -> Tensor:
    """1/2||x − sD||² + lmbda||s||₁, [n]."""
    return 0.5 * (X - code @ D).square().sum(1) + lmbda * code.abs().sum(1)
