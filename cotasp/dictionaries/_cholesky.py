"""A Cholesky factor that gains and loses one row at a time.

UᵀU = G_AA for the atoms A of a support, in the order they joined.  U is kept in LAPACK's
packed columns: a new atom appends a contiguous piece, and every triangular solve reads the
factor in place, without the copy that a slice of a square array would cost.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dtpsv
from scipy.linalg.lapack import dpotrf, dtpqrt, dtpttr, dtrttp
from threadpoolctl import ThreadpoolController

Array = NDArray[np.float64]

PIVOT = 1e-10
"""An atom whose squared distance to the span of the support is below this share of its own
squared norm is dependent: its pivot is rounding error and must not be used."""
PIVOT_SINGLE = 1e-5
"""The same for Gram entries in float32."""


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager:
    """Keeps BLAS to one thread: waking others costs more than a step of a path takes."""
    return _controller().limit(limits=1, user_api="blas")


class Factor:
    """Cholesky factor of a growing and shrinking Gram matrix, O(k²) per change.

    Args:
        pivot: share below which an atom counts as dependent.
        capacity: rows to make room for; more are made when needed.
    """

    def __init__(self, pivot: float = PIVOT, capacity: int = 64):
        self.size, self.pivot = 0, pivot
        self._packed: Array = np.empty(capacity * (capacity + 1) // 2)

    def forward(self, b: Array) -> Array:
        """Solves Uᵀy = b, [k] to [k]."""
        return dtpsv(self.size, self._packed, b, trans=1) if self.size else b[:0].copy()

    def backward(self, y: Array) -> Array:
        """Solves Uw = y, [k] to [k]."""
        return dtpsv(self.size, self._packed, y) if self.size else y[:0].copy()

    def append(self, cross: Array, square: float) -> Array | None:
        """Adds an atom with `cross` = G_Aj [k] and `square` = G_jj.

        Returns:
            The new column of U, [k + 1], or None when the atom is dependent and nothing changed.
        """
        column = np.empty(self.size + 1)
        column[:-1] = self.forward(cross)
        pivot = square - column[:-1] @ column[:-1]
        if not pivot > self.pivot * square:
            return None
        column[-1] = pivot**0.5
        start = self.size * (self.size + 1) // 2
        if start + self.size + 1 > len(self._packed):
            self._packed = np.concatenate([self._packed, np.empty(len(self._packed) + self.size)])
        self._packed[start : start + self.size + 1] = column
        self.size += 1
        return column

    def remove(self, i: int) -> None:
        """Drops the i-th atom.

        With u the i-th row of U right of the diagonal and T the triangle below it, the triangle
        that takes their place is the R of a QR factorisation of T stacked on u.
        """
        last = self.size - 1
        if i < last:
            full, _ = dtpttr(self.size, self._packed[: self.size * (self.size + 1) // 2])
            block, *_ = dtpqrt(
                0, min(8, last - i), full[i + 1 :, i + 1 :], full[i : i + 1, i + 1 :]
            )
            full[:i, i:last] = full[:i, i + 1 :]
            full[i:last, i:last] = block
            packed, _ = dtrttp(full[:last, :last])
            self._packed[: len(packed)] = packed
        self.size = last

    def refactor(self, gram: Array) -> bool:
        """Replaces the factor by that of `gram` [k, k]; False (and empty) if it is singular."""
        factor, info = dpotrf(gram)
        ok = info == 0 and bool(np.all(np.diag(factor) ** 2 > self.pivot * np.diag(gram)))
        self.size = len(gram) if ok else 0
        if ok and self.size:
            self._packed, _ = dtrttp(factor)
        return ok
