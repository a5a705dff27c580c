"""Lasso solvers as components: what each does, its fields, and what it can do.

All minimise 1/2||x − sD||² + lmbda||s||₁ over s, row by row.  The arithmetic lives in sibling
modules that are imported when a solver is called.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    Init = Tensor | None
    Codes = tuple[Tensor, Tensor]


class Solver(Protocol):
    """Finds sparse codes.  Judged by `sparse_encode`, which checks inputs and certifies the result.

    A solver is a frozen dataclass with `__call__`.  It gets finite tensors of one floating dtype on
    one device, a positive `lmbda`, and must not modify them.  Fields named `tol` and `max_iter` can
    be overridden per call.
    """

    supports_positive: ClassVar[bool]
    """Whether codes can be restricted to s ≥ 0."""
    exact: ClassVar[bool]
    """Whether the code claims to be the lasso solution, so that falling short of it is reported."""

    def __call__(
        self, X: Tensor, dictionary: Tensor, *, lmbda: float, positive: bool, init: Init
    ) -> Codes:
        """Codes of X.

        Args:
            X: targets, [n, m].
            dictionary: atoms, [K, m].
            lmbda: l1 weight, > 0, in the units of X @ dictionary.mT.
            positive: admit only codes ≥ 0.
            init: codes to start from, [n, K]; a solver may ignore them.

        Returns:
            code: [n, K], exact zeros off the support.
            n_iter: [n], integer, in the solver's own unit.
        """
        ...


def _check(solver: object) -> None:
    """Raises RecipeError unless tol > 0 and max_iter ≥ 1, where a solver has them."""
    tol, max_iter = getattr(solver, "tol", 1.0), getattr(solver, "max_iter", 1)
    if isinstance(tol, bool) or not isinstance(tol, (int, float)) or not 0 < tol < math.inf:
        raise RecipeError(
            f"{type(solver).__name__}.tol: expected a number > 0 (KKT residual as a share of "
            f"lmbda), got {tol!r}; 1e-9 is exact for every practical purpose"
        )
    if isinstance(max_iter, bool) or not isinstance(max_iter, int) or max_iter < 1:
        raise RecipeError(
            f"{type(solver).__name__}.max_iter: expected an integer ≥ 1, got {max_iter!r}; "
            f"leave it out for the default"
        )


@dataclass(frozen=True)
class Lars:
    """Homotopy with Cholesky updates (LARS): exact, the choice for one text at a time.

    Follows the exact piecewise linear path of solutions from lmbda_max, or from `init`, and
    finishes with a Cholesky solve on the support.  Efron et al. 2004, Mairal et al. 2009.
    Runs on the CPU in float64; tensors on other devices are copied there and back.

    Args:
        tol: KKT residual to reach, as a share of lmbda.
        max_iter: most steps on the path of one row (atoms joining or leaving).
    """

    tol: float = 1e-9
    max_iter: int = 20_000
    supports_positive: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self)

    def __call__(
        self, X: Tensor, dictionary: Tensor, *, lmbda: float, positive: bool, init: Init
    ) -> Codes:
        """See `Solver.__call__`; n_iter counts steps on the path."""
        from cotasp.dictionaries._lars import lars

        return lars(X, dictionary, lmbda, positive, init, tol=self.tol, max_iter=self.max_iter)


@dataclass(frozen=True)
class Fista:
    """Accelerated proximal gradient, batched, with an exact finish: the choice for many texts.

    Restarts, freezes rows that are done, and ends with Newton steps on the support, so that
    converged rows are as exact as those of `Lars`.  Beck and Teboulle 2009, O'Donoghue and Candès
    2015.  Runs in float64 on the device of its inputs.

    Args:
        tol: KKT residual to reach, as a share of lmbda.
        max_iter: most proximal gradient steps.
    """

    tol: float = 1e-9
    max_iter: int = 20_000
    supports_positive: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self)

    def __call__(
        self, X: Tensor, dictionary: Tensor, *, lmbda: float, positive: bool, init: Init
    ) -> Codes:
        """See `Solver.__call__`; n_iter counts proximal gradient steps."""
        from cotasp.dictionaries._descent import FistaState, descend

        options = {"max_iter": self.max_iter, "first": 20}
        return descend(FistaState, X, dictionary, lmbda, positive, init, tol=self.tol, **options)


@dataclass(frozen=True)
class CoordinateDescent:
    """Cyclic coordinate descent on the Gram matrix, batched, with an exact finish.

    Rows move together through blocks of atoms and are extrapolated every five sweeps; rows that
    are done are frozen, and Newton steps on the support end the work as in `Fista`.  Friedman,
    Hastie and Tibshirani 2010, Bertrand and Massias 2021.  Runs in float64 on the device of its
    inputs.

    Args:
        tol: KKT residual to reach, as a share of lmbda.
        max_iter: most sweeps over all atoms.
    """

    tol: float = 1e-9
    max_iter: int = 5_000
    supports_positive: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self)

    def __call__(
        self, X: Tensor, dictionary: Tensor, *, lmbda: float, positive: bool, init: Init
    ) -> Codes:
        """See `Solver.__call__`; n_iter counts sweeps."""
        from cotasp.dictionaries._descent import DescentState, descend

        options = {"max_iter": self.max_iter, "first": 4}
        return descend(DescentState, X, dictionary, lmbda, positive, init, tol=self.tol, **options)


@dataclass(frozen=True)
class Threshold:
    """Soft threshold of the correlations: one product, the lasso only for orthonormal atoms.

    s = sign(c)·max(|c| − lmbda, 0) with c = xDᵀ.  A control, not a solver.
    """

    supports_positive: ClassVar[bool] = True
    exact: ClassVar[bool] = False

    def __call__(
        self, X: Tensor, dictionary: Tensor, *, lmbda: float, positive: bool, init: Init
    ) -> Codes:
        """See `Solver.__call__`; n_iter is 1."""
        from cotasp.dictionaries._controls import threshold

        return threshold(X, dictionary, lmbda, positive)


@dataclass(frozen=True)
class OMP:
    """Orthogonal matching pursuit: greedy supports with least-squares codes, a control.

    Adds the atom of largest |g_j| and refits until |g_j| ≤ lmbda for all j, Pati et al. 1993.

    Args:
        max_iter: most atoms per row.
    """

    max_iter: int = 10_000
    supports_positive: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self)

    def __call__(
        self, X: Tensor, dictionary: Tensor, *, lmbda: float, positive: bool, init: Init
    ) -> Codes:
        """See `Solver.__call__`; n_iter counts atoms."""
        from cotasp.dictionaries._controls import omp

        return omp(X, dictionary, lmbda, self.max_iter)


@dataclass(frozen=True)
class SklearnLars:
    """scikit-learn's LassoLars, for cross-checks; its own tolerance is that of float32.

    Each row is solved in units of lmbda, where that tolerance hurts least.

    Args:
        tol: KKT residual above which a row counts as not converged, as a share of lmbda.
        max_iter: most steps on the path.
    """

    tol: float = 1e-6
    max_iter: int = 10_000
    supports_positive: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self)

    def __call__(
        self, X: Tensor, dictionary: Tensor, *, lmbda: float, positive: bool, init: Init
    ) -> Codes:
        """See `Solver.__call__`; n_iter counts steps on the path."""
        from cotasp.dictionaries._adapters import sklearn_lars

        return sklearn_lars(X, dictionary, lmbda, positive, max_iter=self.max_iter)


@dataclass(frozen=True)
class SklearnCD:
    """scikit-learn's coordinate descent (Lasso), for cross-checks.

    Args:
        tol: KKT residual to reach, as a share of lmbda; its square is the gap that is asked for.
        max_iter: most iterations of one row.
    """

    tol: float = 1e-6
    max_iter: int = 10000
    supports_positive: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self)

    def __call__(
        self, X: Tensor, dictionary: Tensor, *, lmbda: float, positive: bool, init: Init
    ) -> Codes:
        """See `Solver.__call__`; n_iter as the library counts."""
        from cotasp.dictionaries._adapters import sklearn_cd

        return sklearn_cd(X, dictionary, lmbda, positive, tol=self.tol, max_iter=self.max_iter)


@dataclass(frozen=True)
class Celer:
    """celer's working sets (Massias et al. 2018), for cross-checks.

    Needs the extra `cotasp[celer]`.

    Args:
        tol: KKT residual to reach, as a share of lmbda; its square is the gap that is asked for.
        max_iter: most iterations of one row.
    """

    tol: float = 1e-6
    max_iter: int = 200
    supports_positive: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self)

    def __call__(
        self, X: Tensor, dictionary: Tensor, *, lmbda: float, positive: bool, init: Init
    ) -> Codes:
        """See `Solver.__call__`; n_iter as the library counts."""
        from cotasp.dictionaries._adapters import celer

        return celer(X, dictionary, lmbda, positive, tol=self.tol, max_iter=self.max_iter)
