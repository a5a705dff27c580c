"""From a nearly right support to the exact lasso solution, for many rows at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from cotasp.dictionaries._cholesky import PIVOT

CHUNK = 1 << 24
"""Most entries of the stacked Gram matrices that are factorised at once (128 MB)."""

STEPS = 10
"""Most Newton steps."""

FEW = 10
"""Atoms between a support and the right one that are worth exchanging one by one."""


@dataclass(frozen=True)
class Problem:
    """Lasso problems that share a dictionary, all in float64 on one device.

    Args:
        X: targets, [n, m].
        atoms: D, [K, m].
        gram: DDᵀ with a last row and column of zeros, which pads supports, [K + 1, K + 1].
        lmbda: l1 weight.
        positive: only codes ≥ 0.
    """

    X: Tensor
    atoms: Tensor
    gram: Tensor
    lmbda: float
    positive: bool

    @classmethod
    def build(cls, X: Tensor, dictionary: Tensor, lmbda: float, positive: bool) -> Problem:
        X, atoms = X.double(), dictionary.double()
        gram = torch.nn.functional.pad(atoms @ atoms.mT, (0, 1, 0, 1))
        return cls(X, atoms, gram, lmbda, positive)

    def take(self, rows: Tensor) -> Problem:
        """The problems of some rows, given by mask or index."""
        return Problem(self.X[rows], self.atoms, self.gram, self.lmbda, self.positive)

    def correlations(self, code: Tensor) -> Tensor:
        """g = (x − sD)Dᵀ, [n, K]."""
        return (self.X - code @ self.atoms) @ self.atoms.mT

    def objective(self, code: Tensor) -> Tensor:
        """1/2||x − sD||² + lmbda||s||₁, [n]."""
        residuals = self.X - code @ self.atoms
        return 0.5 * residuals.square().sum(1) + self.lmbda * code.abs().sum(1)

    def shrink(self, u: Tensor, by: float) -> Tensor:
        """Proximal operator of by·||·||₁: sign(u)·max(|u| − by, 0), or max(u − by, 0)."""
        return (u - by).clamp_(min=0) if self.positive else torch.nn.functional.softshrink(u, by)

    def excess(self, g: Tensor) -> Tensor:
        """How far correlations exceed the bound, [n, K]; negative where they do not."""
        return (g if self.positive else g.abs()) - self.lmbda

    def kkt(self, code: Tensor, g: Tensor) -> Tensor:
        """Largest violation of the optimality conditions, [n]."""
        off = self.excess(g).clamp_(min=0)
        return torch.where(code != 0, (g - self.lmbda * code.sign()).abs(), off).amax(1)


def polish(
    problem: Problem, code: Tensor, *, tol: float, patient: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Newton steps on the support and signs of a code (a primal–dual active set method).

    Each step solves g_A = lmbda·sign(s_A) on the support A, then drops the atoms whose codes
    changed sign and adds those that break |g_j| ≤ lmbda.  From a nearly right support this ends
    at the exact solution in a few steps; a row that moves away from it is given up (Hintermüller,
    Ito and Kunisch 2002; Fan, Jiao and Lu 2014).

    Args:
        problem: n rows.
        code: [n, K].
        tol: KKT residual to reach, as a share of lmbda.
        patient: rows to go on with by `exchange` where the Newton steps failed, [n]; default none.

    Returns:
        code: [n, K], exact where kkt ≤ tol·lmbda, meaningless elsewhere.
        kkt: [n], infinite for rows given up.
    """
    start, out, kkt = code, code.clone(), code.new_full((len(code),), torch.inf)
    live = torch.arange(len(code), device=code.device)
    signs, changes = code.sign(), code.new_full((len(code),), torch.inf)
    fewest = changes.clone()
    for _ in range(STEPS):
        if len(live) == 0:
            break
        here = problem.take(live)
        code, g = solve_on_support(here, out[live] * (signs != 0), signs)
        wrong = (signs != 0) & (code * signs <= 0)
        missing = (code == 0) & (signs == 0) & (here.excess(g) > tol * problem.lmbda)
        worst = here.kkt(code, g).masked_fill_(wrong.any(1), torch.inf)
        out[live], kkt[live] = code, worst
        before, changes = changes, (wrong.sum(1) + missing.sum(1)).to(code)
        fewest[live] = torch.minimum(fewest[live], changes)
        keep = (worst > tol * problem.lmbda) & ((changes < before) | (changes == 0))
        signs = torch.where(missing, g.sign(), signs.masked_fill(wrong, 0.0))
        live, signs, changes = live[keep], signs[keep], changes[keep]
    if patient is not None and patient.any():
        close = (patient & (kkt > tol * problem.lmbda) & (fewest <= FEW)).nonzero().flatten()
        out[close], kkt[close] = exchange(problem.take(close), start[close], tol=tol)
    return out, kkt


def exchange(problem: Problem, code: Tensor, *, tol: float) -> tuple[Tensor, Tensor]:
    """As `polish`, one atom of each row per step, which lowers the objective every time.

    The code moves towards the solution for its support and signs; the first atom to reach zero
    on the way leaves, and if none does the one that breaks |g_j| ≤ lmbda most joins (Lee et al.
    2007).  Slower than changing all at once, and without its cycles.
    """
    code, out, kkt = code.clone(), code.clone(), code.new_full((len(code),), torch.inf)
    live, signs = torch.arange(len(code), device=code.device), code.sign()
    for _ in range(4 * FEW):
        if len(live) == 0:
            break
        here = problem.take(live)
        target, g = solve_on_support(here, code, signs)
        crossing = (signs != 0) & (target * signs < 0)
        share = torch.where(crossing, code / (code - target), torch.inf)
        nearest, first = share.min(1)
        worst = here.kkt(target, g).masked_fill_(nearest < 1, torch.inf)
        code = code + nearest.clamp(max=1).unsqueeze(1) * (target - code)
        excess, violator = here.excess(g).masked_fill_(signs != 0, -torch.inf).max(1)
        leaves = nearest < 1
        changed = torch.where(leaves, first, violator).unsqueeze(1)
        sign = torch.where(leaves | (excess <= 0), 0.0, g.gather(1, violator[:, None])[:, 0].sign())
        code.scatter_(1, changed, 0.0)
        signs = signs.scatter(1, changed, sign.unsqueeze(1))
        out[live], kkt[live] = target, worst
        keep = worst > tol * problem.lmbda
        live, code, signs = live[keep], code[keep], signs[keep]
    return out, kkt


def solve_on_support(problem: Problem, code: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """The code with g_A = lmbda·sign on A = {signs ≠ 0}, found by correcting `code`, and its g.

    Where the atoms of a support depend on each other, some leave `code` and `signs`, in place.
    """
    g = problem.correlations(code)
    right = (g - problem.lmbda * signs).mul_(signs != 0)
    widest = int((signs != 0).sum(1).max()) if len(signs) else 0
    chunk = max(1, CHUNK // max(1, widest * widest))
    for rows in torch.arange(len(code), device=code.device).split(chunk):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        right[part] = _correction(problem.gram, right[part], code[part], signs[part])
    code = code + right
    return code, problem.correlations(code)


def _correction(gram: Tensor, right: Tensor, code: Tensor, signs: Tensor) -> Tensor:
    """G_AA⁻¹ right_A, zero off A; see `solve_on_support`, whose `code` and `signs` it thins out."""
    row, atom = (signs != 0).nonzero(as_tuple=True)
    count = (signs != 0).sum(1)
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    none = len(gram) - 1
    index = row.new_full((len(signs), int(count.max())), none)
    index[row, place] = atom
    blocks = gram[index[:, :, None], index[:, None, :]]
    diagonal = blocks.diagonal(dim1=1, dim2=2)
    diagonal += (index == none).to(gram)
    squares = diagonal.clone()
    factors, info = torch.linalg.cholesky_ex(blocks)
    pivots = factors.diagonal(dim1=1, dim2=2).square()
    for i in ((info != 0) | (pivots <= PIVOT * squares).any(1)).nonzero().flatten().tolist():
        inside = index[i, : int(count[i])]
        thinned, dropped = _independent(
            blocks[i, : len(inside), : len(inside)], code[i, inside], signs[i, inside]
        )
        code[i, inside] = thinned
        signs[i, inside[dropped]] = 0.0
        blocks[i, dropped, :] = blocks[i, :, dropped] = 0.0
        blocks[i, dropped, dropped] = 1.0
        factors[i] = torch.linalg.cholesky_ex(blocks[i]).L
    padded = torch.nn.functional.pad(right * (signs != 0), (0, 1))
    solved = torch.cholesky_solve(padded.gather(1, index).unsqueeze(2), factors).squeeze(2)
    return torch.zeros_like(padded).scatter_(1, index, solved)[:, :-1]


def _independent(gram: Tensor, code: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """The code [k] of a dependent support, on fewer atoms, and which atoms [d] were dropped.

    An atom d_j = vD_B frees a direction (−v, 1) that leaves the fit as it is.  The code moves
    along it, the way that shortens it, until an atom reaches zero and goes.  After a `FEW` such
    moves what is still dependent goes without them.
    """
    G, s, z = (a.cpu().numpy().copy() for a in (gram, code, signs))
    inside = np.arange(len(s))
    for move in range(FEW + 1):
        G_in = G[np.ix_(inside, inside)]
        factor, pivots, rank, _ = dpstrf(G_in, tol=PIVOT * G_in.diagonal().max())
        if rank == len(inside):
            break
        basis, rest = inside[pivots[:rank] - 1], inside[pivots[rank:] - 1]
        if move == FEW:
            s[rest], inside = 0.0, np.sort(basis)
            break
        way = np.zeros(len(s))
        way[rest[0]] = 1.0
        way[basis] = -solve_triangular(factor[:rank, :rank], factor[:rank, rank])
        way *= -1.0 if z @ way > 0 else 1.0
        ends = np.full(len(s), np.inf)
        shrinks = way * z < 0
        ends[shrinks] = -s[shrinks] / way[shrinks]
        last = int(ends.argmin()) if shrinks.any() else rest[0]
        s += max(0.0, ends[last]) * way if shrinks.any() else 0.0
        s[last], inside = 0.0, inside[inside != last]
    dropped = np.setdiff1d(np.arange(len(s)), inside)
    return torch.from_numpy(s).to(code), torch.from_numpy(dropped).to(code.device)
