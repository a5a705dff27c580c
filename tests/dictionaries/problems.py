"""Lasso problems, and what is known of their solutions."""

from __future__ import annotations

from torch import Tensor

from cotasp.registry import KINDS
from cotasp.testing.dictionaries import lasso_problem, objective, violation

__all__ = ["OURS", "installed_solvers", "largest", "objective", "problem", "violation"]

OURS = ("lars", "fista", "cd")
problem = lasso_problem


def installed_solvers() -> list[str]:
    """Every registered solver whose library is there."""
    names = KINDS["solver"].names()
    try:
        import celer  # noqa: F401
    except ImportError:
        names.remove("celer")
    return names


def largest(X: Tensor, D: Tensor) -> float:
    """Smallest lmbda at which the codes of all rows are zero."""
    return float((X @ D.mT).abs().max())
