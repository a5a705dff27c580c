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
from torch import Tensor
from torch.nn.functional import pad

from cotasp.dictionaries._cholesky import Array, Factor, one_thread
from cotasp.dictionaries._polish import Problem, polish

TINY = 1e-300
"""Slacks and magnitudes are kept above this, so that a step length is never negative."""
REPAIRS = 5
"""How often the end of a path may miss the KKT conditions and be continued."""
MANY = 4
"""Rows from which on the whole Gram matrix pays."""


class GramRows:
    """Rows of G = DDᵀ, computed when first asked for.

    Args:
        atoms: D, [K, m].
        whole: G, [K, K], if it is known already.
        block: rows computed together otherwise.
    """

    def __init__(self, atoms: Array, whole: Array | None = None, block: int = 32):
        self.atoms, self.block = atoms, min(block, len(atoms))
        self.squares = np.einsum("km,km->k", atoms, atoms)
        self.matrix = np.empty((len(atoms), len(atoms))) if whole is None else whole
        self.known = np.full(len(atoms), whole is not None)

    def row(self, j: int, slack: Array) -> Array:
        """Row j, [K]; atoms of small `slack` [2, K] are likely to be asked for next."""
        if not self.known[j]:
            order = np.where(self.known, np.inf, slack.min(axis=0))
            order[j] = -np.inf
            rows = np.argpartition(order, self.block - 1)[: self.block]
            rows = rows[~self.known[rows]]
            self.matrix[rows] = self.atoms[rows] @ self.atoms.T
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
        total = len(gram.squares)
        capacity = min(total, gram.atoms.shape[1]) + 1
        self.k = 0  # size of the support; the next four arrays are filled up to it
        self._atoms = np.empty(capacity, dtype=np.intp)
        self._signs = np.empty(capacity)
        self._sizes = np.empty(capacity)  # |s_j|
        self._forward = np.empty(capacity)  # U⁻ᵀ(dc_A − dlmbda·signs)
        self.factor = Factor()
        self.slack = np.empty((2, total))  # lmbda − g and lmbda + g; inf on the support
        self.banned: list[int] = []  # dependent on the support, until an atom leaves it
        self.left: tuple[int, int] | None = None  # (side, atom) removed by the last step
        self._slot = np.full(total, -1)  # where an atom's Gram row lies in _rows
        self._rows = np.empty((64, total))  # Gram rows of all atoms that ever were active
        self._slots = 0
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
            self.factor.size, kept = 0, []
            for i in range(len(atoms)):
                if self.factor.append(gram[kept, i], gram[i, i]) is not None:
                    kept.append(i)
            dropped = np.delete(atoms, kept)
            g = g + (code[dropped] @ self.gram.atoms[dropped]) @ self.gram.atoms.T
            code[dropped] = 0.0
            atoms = atoms[kept]
        self.k = len(atoms)
        self._atoms[: self.k] = atoms
        self.signs[:], self.sizes[:] = np.sign(code[atoms]), np.abs(code[atoms])
        g0 = np.clip(g, -np.inf if self.positive else -lmbda, lmbda)
        g0[atoms] = lmbda * self.signs
        self.slack[0], self.slack[1] = lmbda - g0, np.inf if self.positive else lmbda + g0
        for j in atoms:
            self._remember(j)
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
        w = self.factor.backward(self._forward[: self.k])
        weights = np.zeros(self._slots)
        weights[self._slot[self.atoms]] = w
        dg = self.dc - weights @ self._rows[: self._slots]
        dslack = np.stack([self.dlmbda - dg, self.dlmbda + dg])
        speed = dslack / self.slack  # −1 / step at which an atom reaches the bound
        if self.left is not None:
            speed[self.left] = 0.0
        if self.banned:
            speed[:, self.banned] = 0.0
        dsizes = w * self.signs
        fastest, join, leave = 1.0 / rest, None, None
        j = int(speed.argmin())
        if -speed.flat[j] > fastest:
            fastest, join = -speed.flat[j], divmod(j, len(dg))
        if self.k:
            fall = dsizes / self.sizes
            i = int(fall.argmin())
            if -fall[i] >= fastest:
                fastest, join, leave = -fall[i], None, i
        step = min(1.0 / fastest, rest)
        self._sizes[: self.k] = np.maximum(self.sizes + step * dsizes, TINY)
        self.slack += step * dslack
        np.maximum(self.slack, TINY, out=self.slack)
        self.left = None
        return step, join, leave

    def _join(self, side: int, j: int) -> None:
        self._remember(j)
        row = self._rows[self._slot[j]]
        column = self.factor.append(row[self.atoms], self.gram.squares[j])
        if column is None:
            self.banned.append(j)
            return
        k, sign = self.k, 1.0 - 2.0 * side
        right = self.dc[j] - self.dlmbda * sign
        self._forward[k] = (right - column[:-1] @ self._forward[:k]) / column[-1]
        self._atoms[k], self._signs[k], self._sizes[k] = j, sign, TINY
        self.k += 1
        self.slack[:, j] = np.inf

    def _leave(self, i: int) -> None:
        j, side = self._atoms[i], int(self._signs[i] < 0)
        self.factor.remove(i)
        for array in (self._atoms, self._signs, self._sizes):
            array[i : self.k - 1] = array[i + 1 : self.k]
        self.k -= 1
        self.slack[side, j] = TINY
        self.slack[1 - side, j] = np.inf if self.positive else 2 * self.lmbda
        self.left, self.banned = (side, j), []
        self._restart_forward()

    def _restart_forward(self) -> None:
        right = self.dc[self.atoms] - self.dlmbda * self.signs
        self._forward[: self.k] = self.factor.forward(right)

    def _remember(self, j: int) -> None:
        """Makes sure that the Gram row of atom j lies in the contiguous buffer."""
        if self._slot[j] < 0:
            if self._slots == len(self._rows):
                more = np.empty_like(self._rows)
                self._rows = np.concatenate([self._rows, more])
            self._rows[self._slots] = self.gram.row(j, self.slack)
            self._slot[j] = self._slots
            self._slots += 1


def solve_row(
    gram: GramRows, x: Array, lmbda: float, *, positive: bool, tol: float, max_iter: int
) -> tuple[Array, int]:
    """The lasso code [K] of one x [m], and the number of steps that were needed.

    After the path the code is recomputed by a Cholesky solve on its support with refinement from
    the dictionary.  Where that point fails the KKT conditions, which rounding can cause, a new
    path from there repairs it.
    """
    atoms, path = gram.atoms, Homotopy(gram, positive)
    c = atoms @ x
    top = float((c if positive else np.abs(c)).max())
    best, least = np.zeros(len(atoms)), np.inf
    if top <= lmbda:
        return best, 0
    with np.errstate(all="ignore"):  # slacks of exactly zero make infinite speeds, as they should
        path.start(best, c, top)
        ended = path.follow(np.zeros(len(atoms)), lmbda - top, max_iter)
        if not ended:
            return path.code(), path.n_iter
        for _ in range(REPAIRS):
            code, worst = finish(path, x, lmbda)
            if worst < least:
                best, least = code, worst
            if least <= tol * lmbda or not ended:
                break
            dc = path.start(code, atoms @ (x - code @ atoms), lmbda)
            ended = path.follow(dc, 0.0, min(max_iter, path.n_iter + len(atoms)))
    return best, path.n_iter


def finish(path: Homotopy, x: Array, lmbda: float) -> tuple[Array, float]:
    """The code on the support of a path, [K], and its largest violation of (KKT)."""
    atoms, chosen = path.gram.atoms, path.gram.atoms[path.atoms]
    right = lmbda * path.signs
    small = path.factor.backward(path.factor.forward(chosen @ x - right))
    for _ in range(2):
        error = chosen @ (x - small @ chosen) - right
        small += path.factor.backward(path.factor.forward(error))
    small[small * path.signs <= 0] = 0.0
    code = np.zeros(len(atoms))
    code[path.atoms] = small
    g = atoms @ (x - small @ chosen)
    excess = np.maximum((g if path.positive else np.abs(g)) - lmbda, 0.0)
    excess[path.atoms] = np.where(small == 0, excess[path.atoms], np.abs(g[path.atoms] - right))
    return code, float(excess.max())


def lars(
    X: Tensor,
    dictionary: Tensor,
    lmbda: float,
    positive: bool,
    init: Tensor | None,
    *,
    tol: float,
    max_iter: int,
) -> tuple[Tensor, Tensor]:
    """Codes [n, K] and steps [n] of the rows of X [n, m]; see `cotasp.dictionaries.Lars`."""
    targets, atoms = X.double().cpu(), dictionary.double().cpu().contiguous()
    code = torch.zeros(len(X), len(atoms), dtype=torch.float64)
    n_iter = torch.zeros(len(X), dtype=torch.int64)
    whole = atoms @ atoms.mT if len(X) >= MANY or init is not None else None
    todo = torch.ones(len(X), dtype=torch.bool)
    if init is not None:
        problem = Problem(targets, atoms, pad(whole, (0, 1, 0, 1)), lmbda, positive)
        code, kkt = polish(problem, init.double().cpu(), tol=tol)
        todo, n_iter = kkt > tol * lmbda, n_iter + 1
    gram = GramRows(atoms.numpy(), None if whole is None else whole.numpy())
    with one_thread():
        for i in todo.nonzero().flatten().tolist():
            row, n_iter[i] = solve_row(
                gram, targets[i].numpy(), lmbda, positive=positive, tol=tol, max_iter=max_iter
            )
            code[i] = torch.from_numpy(row)
    return code.to(X), n_iter.to(X.device)
