"""Batched iterative lasso solvers: FISTA, coordinate descent, and what both share.

Rows run together and leave as they finish: now and then the rows whose support has settled are
polished to the exact solution (`cotasp.dictionaries._polish`), and those that reached it are
frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from cotasp.dictionaries._polish import Problem, polish

GROWTH = 1.5
"""Ratio of the iterations at which rows are looked at."""
CHEAP = 100
"""Support sizes that cost next to nothing to polish."""
DEPTH = 5
"""Sweeps of coordinate descent between two extrapolations."""


class Method(Protocol):
    """The state of an iterative method on n rows."""

    def __init__(self, problem: Problem, code: Tensor):
        """Starts at `code`, which it may overwrite."""

    @property
    def code(self) -> Tensor:
        """The present codes, [n, K]."""
        ...

    def advance(self, steps: int) -> None:
        """Iterates."""

    def keep(self, rows: Tensor) -> None:
        """Drops all rows but those, given by mask."""


def descend(
    method: Callable[[Problem, Tensor], Method],
    X: Tensor,
    dictionary: Tensor,
    lmbda: float,
    positive: bool,
    init: Tensor | None,
    *,
    tol: float,
    max_iter: int,
    first: int,
) -> tuple[Tensor, Tensor]:
    """Codes [n, K] and iterations [n] of the rows of X [n, m].

    Args:
        method: what iterates.
        first: iterations before the rows are looked at for the first time.
    """
    problem = Problem.build(X, dictionary, lmbda, positive)
    n, size = len(X), len(dictionary)
    start = problem.X.new_zeros(n, size) if init is None else init.double().clone()
    out, n_iter = start.clone(), torch.full((n,), max_iter, device=X.device)
    live = torch.arange(n, device=X.device)
    last = torch.full((n,), torch.inf, device=X.device)
    state, done, upcoming = method(problem, start), 0, first
    if init is not None:
        upcoming = 0
    while len(live):
        state.advance(min(upcoming, max_iter) - done)
        done = min(upcoming, max_iter)
        upcoming = max(done + 1, first, int(GROWTH * done))
        count = (state.code != 0).sum(1)
        change = (count - last).abs()
        cheap, still = count <= CHEAP, change == 0
        # no solution needs more than m atoms, but duplicates may share the work
        settled = (count <= X.shape[1]) & ((count <= X.shape[1] // 2) | (change <= 0.03 * count))
        tries = cheap | settled | still
        code, kkt = _finish(problem.take(live), state.code, tries, cheap | still, tol)
        finished = kkt <= tol * lmbda
        out[live] = code
        n_iter[live[finished]] = done
        if done >= max_iter:
            break
        state.keep(~finished)
        live, last = live[~finished], count[~finished]
    return out.to(X), n_iter


def _finish(
    problem: Problem, code: Tensor, tries: Tensor, patient: Tensor, tol: float
) -> tuple[Tensor, Tensor]:
    """Polished codes where that succeeds, the given ones elsewhere, and their KKT residuals.

    Args:
        tries: rows worth polishing, [n].
        patient: rows worth more than the quick way of it, [n].
    """
    code, kkt = code.clone(), problem.kkt(code, problem.correlations(code))
    rows = (tries & (kkt > tol * problem.lmbda)).nonzero().flatten()
    if len(rows):
        better, residual = polish(problem.take(rows), code[rows], tol=tol, patient=patient[rows])
        good = residual < kkt[rows]
        code[rows[good]], kkt[rows[good]] = better[good], residual[good]
    return code, kkt


class FistaState:
    """Accelerated proximal gradient steps with restarts, all rows at once.

    s⁺ = prox(y + (x − yD)Dᵀ/L, lmbda/L) with L = ||D||₂², y = s⁺ + (t − 1)/t⁺ (s⁺ − s), Beck and
    Teboulle 2009; a row forgets its momentum where (y − s⁺)·(s⁺ − s) > 0, O'Donoghue and Candès
    2015.
    """

    def __init__(self, problem: Problem, code: Tensor):
        self.problem, self.code, self.y = problem, code, code
        gram = problem.gram[:-1, :-1]
        if gram.shape[0] > problem.atoms.shape[1]:
            gram = problem.atoms.mT @ problem.atoms
        # a little above the largest eigenvalue: rounding must not make the step too long
        self.L = max(float(torch.linalg.eigvalsh(gram)[-1]) * (1 + 1e-10), torch.finfo().tiny)
        self.t = code.new_ones(len(code), 1)

    def advance(self, steps: int) -> None:
        """See `Method`."""
        for _ in range(steps):
            u = self.y + self.problem.correlations(self.y) / self.L
            new = self.problem.shrink(u, self.problem.lmbda / self.L)
            moved = new - self.code
            restart = ((self.y - new) * moved).sum(1, keepdim=True) > 0
            t = torch.where(restart, 1.0, 0.5 + (0.25 + self.t.square()).sqrt())
            momentum = torch.where(restart, 0.0, (self.t - 1) / t)
            self.y = torch.addcmul(new, momentum, moved)
            self.code, self.t = new, t

    def keep(self, rows: Tensor) -> None:
        """See `Method`."""
        self.problem = self.problem.take(rows)
        self.code, self.y, self.t = self.code[rows], self.y[rows], self.t[rows]


class DescentState:
    """Cyclic coordinate descent on the Gram matrix, all rows at once, extrapolated now and then.

    s_k ← shrink(g_k + G_kk s_k, lmbda)/G_kk with g = (x − sD)Dᵀ kept up to date: within a block of
    atoms at once, for the others after the block, by one matrix product (Friedman et al. 2010).
    Once the support has settled a sweep is a linear map, and the codes of a few sweeps tell where
    it leads (Anderson acceleration; Bertrand and Massias 2021).
    """

    BLOCK = 64

    def __init__(self, problem: Problem, code: Tensor):
        self.problem = problem
        self._squares = problem.gram.diagonal()[:-1].tolist()
        self._move(code.mT.contiguous())
        self._past = [self._code.clone()]

    @property
    def code(self) -> Tensor:
        """See `Method`."""
        return self._code.mT.contiguous()

    def advance(self, steps: int) -> None:
        """See `Method`."""
        for _ in range(steps):
            for start in range(0, len(self._code), self.BLOCK):
                self._sweep(slice(start, min(start + self.BLOCK, len(self._code))))
            self._past.append(self._code.clone())
            if len(self._past) > DEPTH:
                self._extrapolate()
        self._move(self._code)

    def _move(self, code: Tensor) -> None:
        self._code = code
        self._g = self.problem.correlations(self.code).mT.contiguous()

    def _sweep(self, block: slice) -> None:
        gram = self.problem.gram[block, block]
        g, old = self._g[block].clone(), self._code[block]
        new = old.clone()
        for i, square in enumerate(self._squares[block]):
            if square > 0:
                value = self.problem.shrink(
                    torch.add(g[i], new[i], alpha=square), self.problem.lmbda
                ).div_(square)
                g.addr_(gram[i], value - new[i], alpha=-1)
                new[i] = value
        self._g.addmm_(self.problem.gram[:-1, block], new - old, alpha=-1)
        self._code[block] = new

    def _extrapolate(self) -> None:
        """Moves the rows that gain by it to where their last sweeps lead."""
        guess = anderson(torch.stack(self._past))
        if self.problem.positive:
            guess.clamp_(min=0)
        objective = self.problem.objective
        better = objective(guess.mT) < objective(self.code)  # false where not a number
        self._move(torch.where(better, guess, self._code))
        self._past = [self._code.clone()]

    def keep(self, rows: Tensor) -> None:
        """See `Method`."""
        self.problem = self.problem.take(rows)
        self._g, self._code = self._g[:, rows], self._code[:, rows]
        self._past = [code[:, rows] for code in self._past]


def anderson(points: Tensor) -> Tensor:
    """Where sequences of linear iterations lead: [p + 1, K, n] to [K, n].

    The affine combination of a row's last p points whose increments nearly cancel out: weights
    C⁻¹1/1ᵀC⁻¹1, with C the Gram matrix of the increments.
    """
    steps = points[1:] - points[:-1]
    C = torch.einsum("pkn,qkn->npq", steps, steps)
    diagonal = C.diagonal(dim1=1, dim2=2)
    diagonal += 1e-12 * diagonal.sum(1, keepdim=True)
    weights = torch.linalg.solve_ex(C, torch.ones_like(diagonal)).result
    weights /= weights.sum(1, keepdim=True)
    return torch.einsum("np,pkn->kn", weights, points[1:])
