"""Lasso solvers of other libraries, as they are: for cross-checks and comparisons."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cotasp.dictionaries._cholesky import Array
from cotasp.errors import RecipeError


def sklearn_lars(
    X: Tensor, dictionary: Tensor, lmbda: float, positive: bool, *, max_iter: int
) -> tuple[Tensor, Tensor]:
    """See `cotasp.dictionaries.SklearnLars`."""
    from sklearn.linear_model import LassoLars

    def solve(atoms: Array, x: Array) -> tuple[Array, int]:
        # its tolerance is absolute: in units of lmbda it means the same for every problem
        model = LassoLars(
            alpha=1.0 / len(x),
            fit_intercept=False,
            max_iter=max_iter,
            positive=positive,
            fit_path=False,
        )
        model.fit(atoms.T, x / lmbda)
        code = lmbda * model.coef_
        # atoms that left its path keep 1e-20 instead of zero
        code[np.abs(code) <= 1e-14 * np.abs(code).max()] = 0.0
        return code, int(model.n_iter_)

    return _rows(solve, X, dictionary)


def sklearn_cd(
    X: Tensor, dictionary: Tensor, lmbda: float, positive: bool, *, tol: float, max_iter: int
) -> tuple[Tensor, Tensor]:
    """See `cotasp.dictionaries.SklearnCD`."""
    from sklearn.linear_model import Lasso

    def solve(atoms: Array, x: Array) -> tuple[Array, int]:
        model = Lasso(
            alpha=lmbda / len(x),
            fit_intercept=False,
            max_iter=max_iter,
            positive=positive,
            tol=max(tol**2, 1e-15),  # its tolerance is of the gap, quadratic in the KKT residual
        )
        model.fit(atoms.T, x)
        return model.coef_, int(model.n_iter_)

    return _rows(solve, X, dictionary)


def celer(
    X: Tensor, dictionary: Tensor, lmbda: float, positive: bool, *, tol: float, max_iter: int
) -> tuple[Tensor, Tensor]:
    """See `cotasp.dictionaries.Celer`."""
    try:
        from celer import Lasso
    except ImportError as error:
        raise RecipeError(
            "solver 'celer' needs the package celer; install it with: pip install 'cotasp[celer]'"
        ) from error

    def solve(atoms: Array, x: Array) -> tuple[Array, int]:
        if not np.any(x):
            return np.zeros(len(atoms)), 0  # it divides by the norm of x
        model = Lasso(
            alpha=lmbda / len(x),
            fit_intercept=False,
            max_iter=max_iter,
            positive=positive,
            tol=max(tol**2, 1e-15),
        )
        model.fit(np.asfortranarray(atoms.T), x)
        return model.coef_, int(model.n_iter_)

    return _rows(solve, X, dictionary)


def _rows(
    solve: Callable[[Array, Array], tuple[Array, int]], X: Tensor, dictionary: Tensor
) -> tuple[Tensor, Tensor]:
    """Codes and iterations row by row; the certificate, not the library, reports shortfalls."""
    targets, atoms = (np.array(a.double().cpu().numpy(), order="C") for a in (X, dictionary))
    code, n_iter = np.zeros((len(X), len(atoms))), np.zeros(len(X), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, x in enumerate(targets):
            code[i], n_iter[i] = solve(atoms, x)
    return torch.from_numpy(code).to(X), torch.from_numpy(n_iter).to(X.device)
