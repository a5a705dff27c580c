"""LARS: paths of `cotasp.dictionaries._homotopy`, finished and checked in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cotasp.dictionaries._cholesky import Array, one_thread
from cotasp.dictionaries._homotopy import GramRows, Homotopy
from cotasp.dictionaries._polish import Problem, polish

REPAIRS = 20
"""How often the end of a path may miss the KKT conditions and be continued."""
MANY = 4
"""Rows from which on the whole Gram matrix pays."""


def solve_row(
    gram: GramRows, x: Array, lmbda: float, *, positive: bool, tol: float, max_iter: int
) -> tuple[Array, float, int]:
    """The lasso code [K] of one x [m], its KKT residual, and the number of steps taken.

    After the path the code is recomputed by a Cholesky solve on its support with refinement from
    the dictionary.  Where that point fails the KKT conditions, which rounding can cause, a new
    path from there repairs it.
    """
    atoms, path = gram.atoms, Homotopy(gram, positive)
    c = atoms @ x
    top = float((c if positive else np.abs(c)).max())
    best: Array = np.zeros(len(atoms))
    least = np.inf
    if top <= lmbda:
        return best, 0.0, 0
    with np.errstate(all="ignore"):  # slacks of exactly zero make infinite speeds, as they should
        path.start(best, c, top)
        if not path.follow(np.zeros(len(atoms)), lmbda - top, max_iter):
            return path.code(), least, path.n_iter
        for _ in range(REPAIRS):
            code, worst = finish(path, x, lmbda, tol)
            if worst < least:
                best, least = code, worst
            if least <= tol * lmbda:
                break
            exchange(path, code, atoms @ (x - code @ atoms))
            dc = path.start(code, atoms @ (x - code @ atoms), lmbda)
            if not path.follow(dc, 0.0, min(max_iter, path.n_iter + len(atoms))):
                break
    return best, least, path.n_iter


def finish(path: Homotopy, x: Array, lmbda: float, tol: float) -> tuple[Array, float]:
    """The code on the support of a path, [K], and its largest violation of (KKT)."""
    atoms, chosen = path.gram.atoms, path.gram.atoms[path.atoms]
    right = lmbda * path.signs
    small, error = np.zeros(path.k), chosen @ x - right
    for _ in range(8):
        small += path.factor.backward(path.factor.forward(error))
        error = chosen @ (x - small @ chosen) - right
        if np.abs(error).max(initial=0.0) <= 1e-3 * tol * lmbda:
            break
    small[small * path.signs <= 0] = 0.0
    code = np.zeros(len(atoms))
    code[path.atoms] = small
    g = atoms @ (x - small @ chosen)
    excess = np.maximum((g if path.positive else np.abs(g)) - lmbda, 0.0)
    excess[path.atoms] = np.where(small == 0, excess[path.atoms], np.abs(g[path.atoms] - right))
    return code, float(excess.max())


def exchange(path: Homotopy, code: Array, g: Array) -> None:
    """Lets the atom that breaks (KKT) most take the place of one it depends on, in place.

    Near-duplicates of atoms on the support cannot join it, however slightly better they are.  For
    d_j ≈ vD_A, moving weight from A to j along (−v, 1) leaves the fit as it is, until the first
    atom of A reaches zero and frees its place.
    """
    atoms, support = path.gram.atoms, path.atoms
    off = g.copy() if path.positive else np.abs(g)
    off[support] = -np.inf
    j = int(off.argmax())
    cross = atoms[support] @ atoms[j]
    share = path.factor.backward(path.factor.forward(cross))
    square = atoms[j] @ atoms[j]
    if square - cross @ share > path.gram.pivot * square:
        return
    share *= np.sign(g[j])
    ends = np.where(share * code[support] > 0, code[support] / share, np.inf)
    i = int(ends.argmin())
    if np.isfinite(ends[i]):
        code[support] -= ends[i] * share
        code[support[i]], code[j] = 0.0, ends[i] * np.sign(g[j])


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
    """Codes [n, K] and steps [n] of the rows of X [n, m]; see `cotasp.dictionaries.Lars`.

    Paths are followed with the Gram matrix in float32 and finished in float64; the few that this
    does not bring to the solution are followed again in float64.
    """
    targets, atoms = X.double().cpu(), dictionary.double().cpu().contiguous()
    code = torch.zeros(len(X), len(atoms), dtype=torch.float64)
    n_iter = torch.zeros(len(X), dtype=torch.int64)
    todo = torch.ones(len(X), dtype=torch.bool)
    if init is not None:
        near = (init != 0).sum(1).cpu() <= atoms.shape[1]  # else it is no solution's support
        problem = Problem.build(targets[near], atoms, lmbda, positive)
        code[near], kkt = polish(problem, init[near].double().cpu(), tol=tol)
        todo[near], n_iter[near] = kkt > tol * lmbda, 1
    for dtype in (torch.float32, torch.float64):
        rows = todo.nonzero().flatten().tolist()
        if not rows:
            break
        gram = GramRows(atoms.numpy(), dtype, whole=len(rows) >= MANY)
        with one_thread():
            for i in rows:
                row, residual, n_iter[i] = solve_row(
                    gram, targets[i].numpy(), lmbda, positive=positive, tol=tol, max_iter=max_iter
                )
                code[i] = torch.from_numpy(row)
                todo[i] = residual > tol * lmbda and n_iter[i] < max_iter
    return code.to(X), n_iter.to(X.device)
