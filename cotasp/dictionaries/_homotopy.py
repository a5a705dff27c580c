"""The lasso by homotopy: follow the exact solution along a line of problems.

A problem is a pair (c, lmbda) with c = Dx; its solution s has, for G = DDᵀ and g = c − Gs,

    g_j = lmbda·sign(s_j) on the support A,    |g_j| ≤ lmbda off it.                      (KKT)

Along (c0 + t·dc, lmbda0 + t·dlmbda), t from 0 to 1, the solution is piecewise linear: s_A moves
with w = G_AA⁻¹ (dc_A − dlmbda·sign(s_A)) until an atom off the support reaches the bound and
joins, or one on it reaches zero and leaves.  LARS (Osborne et al. 2000, Efron et al. 2004; with
Cholesky up- and downdates as in Mairal et al. 2009) is the line dc = 0 that lowers lmbda from
max|c|, where s = 0.  Repairs take the other direction: any s solves *some* problem (c0, lmbda),
and the line from c0 to c leads from there to the solution.
"""

from __future__ import annotations

import numpy as np
import torch

from cotasp.dictionaries._cholesky import PIVOT, PIVOT_SINGLE, Array, Factor

BLOCK = 48
"""Rows of a Gram matrix that are computed together."""

TINY = 1e-300
"""Slacks and magnitudes are kept above this, so that a step length is never negative."""


class GramRows:
    """Rows of G = DDᵀ, computed when first asked for.

    Args:
        atoms: D, [K, m], float64.
        dtype: of the rows; float32 makes a path faster by a third.
        whole: compute them all at once, and not a few together.
    """

    def __init__(self, atoms: Array, dtype: torch.dtype, *, whole: bool):
        self.atoms, self.known = atoms, np.full(len(atoms), whole)
        self._atoms = torch.from_numpy(atoms).to(dtype)
        gram = self._atoms @ self._atoms.mT if whole else self._atoms.new_empty(2 * (len(atoms),))
        self.matrix = gram.numpy()
        self.pivot = PIVOT if dtype == torch.float64 else PIVOT_SINGLE

    def row(self, j: int, slack: Array) -> Array:
        """Row j, [K]; atoms of small `slack` [2, K] are likely to be asked for next."""
        if not self.known[j]:
            order = np.where(self.known, np.inf, slack.min(axis=0))
            order[j] = -np.inf
            block = min(BLOCK, int(np.sum(~self.known)))
            rows = np.argpartition(order, block - 1)[:block]
            # the order of the factors in which the product is fast
            self.matrix[rows] = (self._atoms @ self._atoms[torch.from_numpy(rows)].mT).mT.numpy()
            self.known[rows] = True
        return self.matrix[j]


class Homotopy:
    """The state of one right-hand side on its path.

    Args:
        gram: rows of the Gram matrix, shared by all right-hand sides.
        positive: only codes s ≥ 0.
    """

    def __init__(self, gram: GramRows, positive: bool):
        self.gram, self.positive = gram, positive
        total = len(gram.atoms)
        capacity = min(total, gram.atoms.shape[1]) + 1
        self.k = 0  # size of the support; the next four arrays are filled up to it
        self._atoms = np.empty(capacity, dtype=np.intp)
        self._signs = np.empty(capacity)
        self._sizes = np.empty(capacity)  # |s_j|
        self._forward = np.empty(capacity)  # U⁻ᵀ(dc_A − dlmbda·signs)
        self.factor = Factor(gram.pivot)
        self.slack = np.empty((2, total))  # lmbda − g and lmbda + g; inf on the support
        self.banned: list[int] = []  # dependent on the support, until an atom leaves it
        self.left: tuple[int, int] | None = None  # (side, atom) removed by the last step
        self._rows = np.empty(
            (64, total), dtype=gram.matrix.dtype
        )  # Gram rows of all atoms that ever were active
        self._slots = 0  # how many those are
        self._slot = np.full(total, -1)  # where an atom's row lies
        self._places = np.empty(capacity, dtype=np.intp)  # where those of the support lie
        self._weights = np.zeros(total)  # w, in the order of _rows
        self._dslack, self._speed = np.empty((2, total)), np.empty((2, total))
        self.n_iter = 0

    atoms = property(lambda self: self._atoms[: self.k], doc="The support A, in factor order.")
    signs = property(lambda self: self._signs[: self.k], doc="Signs of the codes on A.")
    sizes = property(lambda self: self._sizes[: self.k], doc="Their magnitudes, ≥ 0.")

    def code(self) -> Array:
        """The solution of the problem that the path has reached, [K]."""
        code = np.zeros(len(self.slack[0]))
        code[self.atoms] = self.signs * self.sizes
        return code

    def start(self, code: Array, g: Array, lmbda: float) -> Array:
        """Stands at `code` [K], with correlations g = D(x − sD); returns dc, the way to go, [K].

        Atoms of the code that depend on others are dropped from it, in place.
        """
        self.lmbda, self.left, self.banned = lmbda, None, []
        atoms = np.flatnonzero(code)
        gram = self.gram.atoms[atoms] @ self.gram.atoms[atoms].T
        if len(atoms) > self.gram.atoms.shape[1] or not self.factor.refactor(gram):
            self.factor.size = 0
            basis: list[int] = []
            for i in range(len(atoms)):
                if self.factor.append(gram[basis, i], gram[i, i]) is not None:
                    basis.append(i)
            dropped = np.delete(atoms, basis)
            g = g + (code[dropped] @ self.gram.atoms[dropped]) @ self.gram.atoms.T
            code[dropped] = 0.0
            atoms = atoms[basis]
        self.k = len(atoms)
        self._atoms[: self.k] = atoms
        self.signs[:], self.sizes[:] = np.sign(code[atoms]), np.abs(code[atoms])
        g0 = np.clip(g, -np.inf if self.positive else -lmbda, lmbda)
        g0[atoms] = lmbda * self.signs
        self.slack[0], self.slack[1] = lmbda - g0, np.inf if self.positive else lmbda + g0
        self._weights[:] = 0.0
        for i, j in enumerate(atoms.tolist()):
            self._places[i] = self._remember(j)
        return g - g0

    def follow(self, dc: Array, dlmbda: float, max_iter: int) -> bool:
        """Walks from t = 0 to t = 1; False when `max_iter` steps in all did not suffice."""
        self.dc, self.dlmbda = dc, dlmbda
        self._restart_forward()
        rest, lmbda0, ended = 1.0, self.lmbda, False
        while not ended and self.n_iter < max_iter:
            self.n_iter += 1
            step, join, leave = self._step(rest)
            rest -= step
            self.lmbda = lmbda0 + (1.0 - rest) * dlmbda
            ended = join is None and leave is None
            if leave is not None:
                self._leave(leave)
            elif join is not None:
                self._join(*join)
        return ended

    def _step(self, rest: float) -> tuple[float, tuple[int, int] | None, int | None]:
        """Moves to the next event, at most `rest`; its length, who joins, who leaves."""
        k, slack, dslack, speed = self.k, self.slack, self._dslack, self._speed
        w = self.factor.backward(self._forward[:k])
        self._weights[self._places[:k]] = w
        weights = self._weights[: self._slots].astype(self._rows.dtype, copy=False)
        down = weights @ self._rows[: self._slots] - self.dc  # −dg, float64
        np.add(down, self.dlmbda, out=dslack[0])
        np.subtract(self.dlmbda, down, out=dslack[1])
        np.divide(dslack, slack, out=speed)  # −1 / step at which an atom reaches the bound
        if self.left is not None:
            speed[self.left] = 0.0
            self.left = None
        if self.banned:
            speed[:, self.banned] = 0.0
        fastest, join, leave = 1.0 / rest, None, None
        j = int(speed.argmin())
        side, j = divmod(j, len(down))
        if -speed[side, j] > fastest:
            fastest, join = -speed[side, j], (side, j)
        sizes = self._sizes[:k]
        w *= self._signs[:k]
        if k:
            fall = w / sizes
            i = int(fall.argmin())
            if -fall[i] >= fastest:
                fastest, join, leave = -fall[i], None, i
        step = min(1.0 / float(fastest), rest)
        w *= step
        sizes += w
        np.maximum(sizes, TINY, out=sizes)
        dslack *= step
        slack += dslack
        np.maximum(slack, TINY, out=slack)
        return step, join, leave

    def _join(self, side: int, j: int) -> None:
        place = self._remember(j)
        row = self._rows[place]
        full = self.k + 1 == len(self._atoms)  # as many atoms as dimensions: one more depends
        column = None if full else self.factor.append(row[self.atoms], float(row[j]))
        if column is None:
            self.banned.append(j)
            return
        k, sign = self.k, 1.0 - 2.0 * side
        right = self.dc[j] - self.dlmbda * sign
        self._forward[k] = (right - column[:-1] @ self._forward[:k]) / column[-1]
        self._atoms[k], self._signs[k], self._sizes[k], self._places[k] = j, sign, TINY, place
        self.k += 1
        self.slack[:, j] = np.inf

    def _leave(self, i: int) -> None:
        j, side = self._atoms[i], int(self._signs[i] < 0)
        self.factor.remove(i)
        self._weights[self._places[i]] = 0.0
        for array in (self._atoms, self._signs, self._sizes, self._places):
            array[i : self.k - 1] = array[i + 1 : self.k]
        self.k -= 1
        self.slack[side, j] = TINY
        self.slack[1 - side, j] = np.inf if self.positive else 2 * self.lmbda
        self.left, self.banned = (side, j), []
        self._restart_forward()

    def _restart_forward(self) -> None:
        right = self.dc[self.atoms] - self.dlmbda * self.signs
        self._forward[: self.k] = self.factor.forward(right)

    def _remember(self, j: int) -> int:
        """Where the Gram row of atom j lies in the contiguous buffer, putting it there if new."""
        if self._slot[j] < 0:
            if self._slots == len(self._rows):
                self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            self._rows[self._slots] = self.gram.row(j, self.slack)
            self._slot[j] = self._slots
            self._slots += 1
        return self._slot[j]
