"""From a nearly right support to the exact lasso solution, for many rows at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from cotasp.dictionaries._cholesky import PIVOT

CHUNK = 1 << 24
"""Most entries of the stacked Gram matrices that are factorised at once (128 MB)."""


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


def polish(problem: Problem, code: Tensor, *, tol: float, steps: int = 10) -> tuple[Tensor, Tensor]:
    """Newton steps on the support and signs of a code (a primal–dual active set method).

    Each step solves g_A = lmbda·sign(s_A) on the support A, then drops the atoms whose codes
    changed sign and adds those that break |g_j| ≤ lmbda.  From a nearly right support this ends
    at the exact solution in a few steps; a row that moves away from it is given up (Hintermüller,
    Ito and Kunisch 2002; Fan, Jiao and Lu 2014).

    Args:
        problem: n rows.
        code: [n, K].
        tol: KKT residual to reach, as a share of lmbda.
        steps: most Newton steps.

    Returns:
        code: [n, K], exact where kkt ≤ tol·lmbda, meaningless elsewhere.
        kkt: [n], infinite for rows given up.
    """
    out, kkt = code.clone(), code.new_full((len(code),), torch.inf)
    live = torch.arange(len(code), device=code.device)
    signs, changes = code.sign(), code.new_full((len(code),), torch.inf)
    for _ in range(steps):
        if len(live) == 0:
            break
        here = problem.take(live)
        code, g = solve_on_support(here, out[live] * (signs != 0), signs)
        wrong = (signs != 0) & (code * signs <= 0)
        missing = (code == 0) & (signs == 0) & (here.excess(g) > tol * problem.lmbda)
        worst = here.kkt(code, g).masked_fill_(wrong.any(1), torch.inf)
        out[live], kkt[live] = code, worst
        before, changes = changes, (wrong.sum(1) + missing.sum(1)).to(code)
        keep = (worst > tol * problem.lmbda) & ((changes < before) | (changes == 0))
        signs = torch.where(missing, g.sign(), signs.masked_fill(wrong, 0.0))
        live, signs, changes = live[keep], signs[keep], changes[keep]
    return out, kkt


def solve_on_support(problem: Problem, code: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Solves g_A = lmbda·sign for A = {signs ≠ 0}, correcting `code`; the new code and its g.

    Atoms that depend on the others of their support keep the code zero and lose their sign, in
    place.
    """
    g = problem.correlations(code)
    right = (g - problem.lmbda * signs).mul_(signs != 0)
    widest = int((signs != 0).sum(1).max()) if len(signs) else 0
    chunk = max(1, CHUNK // max(1, widest * widest))
    for rows in torch.arange(len(code), device=code.device).split(chunk):
        code[rows] += _correction(problem.gram, right[rows], signs, rows)
    return code, problem.correlations(code)


def _correction(gram: Tensor, right: Tensor, signs: Tensor, rows: Tensor) -> Tensor:
    """G_AA⁻¹ right_A, zero off A, for some rows; see `solve_on_support`."""
    support, mine = signs[rows] != 0, signs[rows]
    row, atom = support.nonzero(as_tuple=True)
    count = support.sum(1)
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    index = row.new_full((len(rows), int(count.max())), len(gram) - 1)
    index[row, place] = atom
    blocks = gram[index[:, :, None], index[:, None, :]]
    diagonal = blocks.diagonal(dim1=1, dim2=2)
    diagonal += (index == len(gram) - 1).to(gram)
    squares = diagonal.clone()
    factors, info = torch.linalg.cholesky_ex(blocks)
    pivots = factors.diagonal(dim1=1, dim2=2).square()
    for i in ((info != 0) | (pivots <= PIVOT * squares).any(1)).nonzero().flatten().tolist():
        dropped = _dependent(blocks[i])
        signs[rows[i], index[i, dropped]] = 0.0
        mine[i, index[i, dropped]] = 0.0
        blocks[i, dropped, :] = blocks[i, :, dropped] = 0.0
        blocks[i, dropped, dropped] = 1.0
        factors[i] = torch.linalg.cholesky_ex(blocks[i]).L
    padded = torch.nn.functional.pad(right * (mine != 0), (0, 1))
    solved = torch.cholesky_solve(padded.gather(1, index).unsqueeze(2), factors).squeeze(2)
    return torch.zeros_like(padded).scatter_(1, index, solved)[:, :-1]


def _dependent(gram: Tensor) -> Tensor:
    """Which atoms to drop so that the rest is independent, by pivoted Cholesky; indices."""
    _, pivots, rank, _ = dpstrf(gram.cpu().numpy(), tol=PIVOT * float(gram.diagonal().max()))
    return torch.as_tensor(pivots[rank:] - 1, dtype=torch.int64, device=gram.device)
