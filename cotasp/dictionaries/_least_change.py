"""One Gauss–Newton step of the anchored update: the smallest change that satisfies it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

_ON_SPHERE = 1 - 1e-9  # share of max_norm from which an atom moves along the sphere only
_STEP_ITER = 1000  # conjugate-gradient iterations per step, at most
_RIDGES = (1e-5, 1e-2, 1.0)  # added to blocks' diagonals, in turn, until they can be factored
_AT_ONCE = 1 << 22  # entries of the preconditioner's blocks factored together, to bound memory


class Point(NamedTuple):
    """Atoms, and what the conditions say of them."""

    atoms: Tensor  # [K, m]
    residuals: Tensor  # R = E - S D, [n, m]
    wanted: Tensor  # V, what the correlations R D^T lack, [n, K]
    tight: Tensor  # [n, K], on the support or outside the margin
    violation: Tensor  # [n]

    @property
    def merit(self) -> float:
        return float(self.wanted.square().sum())


def lost(violation: Tensor) -> float:
    """Codes that are not recalled, of violations [n]; one of 5 % of lambda counts as a whole."""
    return float((violation / 0.05).clamp(max=1.0).sum())


class Conditions(NamedTuple):
    """That codes are the lasso of their texts, with room off their supports."""

    embeddings: Tensor  # [n, m]
    codes: Tensor  # [n, K]
    lmbda: float
    margin: float  # what correlations off a support are moved to, in units of lambda

    def at(self, atoms: Tensor) -> Point:
        """What they say of atoms [K, m]."""
        residuals = self.embeddings - self.codes @ atoms
        G = residuals @ atoms.T
        support, right = self.codes != 0, self.lmbda * self.codes.sign()
        inside = self.margin * self.lmbda
        target = torch.where(support, right, G.clamp(-inside, inside))
        allowed = torch.where(support, right, G.clamp(-self.lmbda, self.lmbda))
        violation = (allowed - G).abs().amax(dim=1) / self.lmbda
        return Point(atoms, residuals, target - G, support | (target != G), violation)


def least_step(
    point: Point,
    active: Tensor,
    inward: Tensor,
    codes: Tensor,
    lmbda: float,
    max_norm: float,
    precondition: Callable[[Tensor], Tensor],
    tol: float,
    passes: int = 1,
) -> tuple[Tensor, Tensor]:
    r"""Smallest X [K, m] with J X = V on the active conditions, X_k in the tangent cone.

    :math:`X = \Pi J^\top y,\ J \Pi J^\top y = V`, with
    :math:`J X = \mathrm{active} \circ (R X^\top - S X D^\top)` and
    :math:`J^\top Y = Y^\top R - S^\top (Y D)`, by preconditioned conjugate gradients;
    :math:`\Pi` makes atoms on the sphere move along it, but for those marked `inward` [K, 1].
    Newton corrects what a solution to a relative residual of `tol` lacks, so the work is done in
    float32; residuals never are.  `precondition` is `per_atom_inverse` of the same conditions.
    Each of the `passes` lets go the atoms that the one before it saw pushed inward.

    Returns:
        X, and the atoms that would move inward if the sphere let them go.
    """
    normals = sphere_normals(point.atoms, max_norm).float()
    D, R, S = point.atoms.float(), point.residuals.float(), codes.float()
    mask = active.float()

    def adjoint(Y: Tensor) -> Tensor:
        return Y.T @ R - S.T @ (Y @ D)

    def operator(Y: Tensor, pinned: Tensor) -> Tensor:
        X = _along(pinned, adjoint(Y))
        return mask * (R @ X.T - (S @ X) @ D.T)

    wanted = (point.wanted / lmbda).float() * mask
    goal = tol * wanted.norm()
    start = torch.zeros_like(wanted)
    for _ in range(passes):
        Y, pinned = start.clone(), normals.masked_fill(inward, 0.0)
        left = wanted - operator(Y, pinned)
        direction = z = precondition(left)
        size = (left * z).sum()
        for _ in range(_STEP_ITER):
            if left.norm() <= goal:
                break
            image = operator(direction, pinned)
            curvature = (direction * image).sum()
            if not curvature > 0:  # held by the sphere alone: moves nothing, but tells who pushes
                Y += direction
                break
            length = size / curvature
            Y += length * direction
            left -= length * image
            z = precondition(left)
            size, before = (left * z).sum(), size
            direction = z + (size / before) * direction
        X = adjoint(Y)
        start = Y if left.norm() <= goal else start
        step, inward = _along(pinned, X), (X * normals).sum(dim=1, keepdim=True) < 0
    return lmbda * step.to(point.atoms), inward


def sphere_normals(atoms: Tensor, max_norm: float) -> Tensor:
    """Normals [K, m] of the atoms that lie on the sphere; 0 for those inside."""
    norms = atoms.norm(dim=1, keepdim=True)
    return (atoms / norms).masked_fill(norms < max_norm * _ON_SPHERE, 0.0)


def _along(normals: Tensor, X: Tensor) -> Tensor:
    """What of a change X [K, m] runs along the sphere, where a normal is not 0."""
    return X - normals * (X * normals).sum(dim=1, keepdim=True)


def following_step(
    conditions: Conditions,
    atoms: Tensor,
    small: Tensor,
    close: Tensor,
    ample: Tensor,
    max_norm: float,
) -> Tensor:
    r"""Smallest X [K, m] that puts single entries of codes right while all others follow.

    Let A be the support of :math:`s_i` without the entries to be put right, and k one of these.
    Codes on A follow the atoms such that their own conditions hold on.  To first order that leaves
    the correlation of k with

    .. math:: \delta g_k = u \cdot (X r_i) - (s_i X) \cdot (u D), \qquad
       u_k = 1, \quad u_A = -(D_A D_A^\top)^{-1} D_A d_k.

    Its gradient has rank two, so the least change is a dense problem as small as their number.

    Args:
        conditions: their codes [n, K] are optimal on A.
        atoms: D, [K, m].
        small: [n, K], codes that are held, and are to have the value in `ample` [n, K].
        close: [n, K], correlations off supports that are to be on the margin.
        max_norm: atoms of that norm move along the sphere.
    """
    embeddings, codes, lmbda, margin = conditions
    residuals = embeddings - codes @ atoms
    rows, entries = (small | close).nonzero(as_tuple=True)
    U = torch.zeros(len(rows), len(atoms)).to(atoms)
    U[torch.arange(len(rows)), entries] = 1.0
    for row in rows.unique().tolist():
        mine, support = rows == row, (codes[row] != 0) & ~small[row]
        others = atoms[support]
        solved = _solved(others @ others.T, others @ atoms[entries[mine]].T)
        U[mine.nonzero(), support.nonzero().T] = -solved.T
    V, R, S = U @ atoms, residuals[rows], codes[rows]
    rise = (V * atoms[entries]).sum(dim=1) * (ample - codes)[rows, entries]
    goal = torch.where(small[rows, entries], lmbda + rise, margin * lmbda)
    pinned = sphere_normals(atoms, max_norm)
    cross = (U @ S.T) * (R @ V.T)
    along = U * (R @ pinned.T) - S * (V @ pinned.T)
    matrix = (U @ U.T) * (R @ R.T) + (S @ S.T) * (V @ V.T) - cross - cross.T - along @ along.T
    y = _solved(matrix, (goal - (R * atoms[entries]).sum(dim=1))[:, None])
    X = (y * U).T @ R - (y * S).T @ V
    return _along(pinned, X)


def per_atom_inverse(point: Point, active: Tensor, codes: Tensor) -> Callable[[Tensor], Tensor]:
    r"""Y to its product with the inverse of J J^T's diagonal blocks, one block per atom.

    :math:`(JJ^\top)_{kk} = RR^\top + ||d_k||^2 SS^\top - g_k s_k^\top - s_k g_k^\top`, n x n, with
    :math:`g_k = R d_k` and :math:`s_k` the columns of G and S, restricted to the texts for which
    atom k's condition is active.  Its entries are sums in float64, rounded to float32: gathering
    and factoring blocks would take longer than all iterations.
    """
    n, active = len(active), active.T
    # what padding, text n, has of everything is 0
    g, s = (pad(x.T.float(), (0, 1)) for x in (point.residuals @ point.atoms.T, codes))
    RR, SS = (pad((x @ x.T).float(), (0, 1, 0, 1)).flatten() for x in (point.residuals, codes))
    squares = point.atoms.square().sum(dim=1).float()
    counts = active.sum(dim=1)
    size_class = (2 * counts.clamp(min=4).log2()).ceil()  # some serve many texts, most only few
    parts = []
    for size in size_class[counts > 0].unique():
        members = ((size_class == size) & (counts > 0)).nonzero().flatten()
        for atoms in members.split(max(1, _AT_ONCE >> int(size))):
            # Active texts first, in rows of equal width; what lies beyond the count is padding.
            width = int(counts[atoms].max())
            rows = active[atoms].int().argsort(dim=1, descending=True, stable=True)[:, :width]
            beyond = torch.arange(width, device=rows.device) >= counts[atoms, None]
            rows.masked_fill_(beyond, n)
            # one flat index of 32 bits gathers five times as fast as two of 64
            flat, shape = rows.int(), (len(atoms), width, width)
            index = (flat[:, :, None] * (n + 1) + flat[:, None, :]).flatten()
            blocks = RR.index_select(0, index).view(shape)
            blocks.addcmul_(squares[atoms, None, None], SS.index_select(0, index).view(shape))
            ours = torch.stack([x[atoms].gather(1, rows) for x in (g, s)], dim=1)
            blocks.baddbmm_(ours.mT, ours.flip(1), alpha=-1)
            parts.append((atoms[:, None], rows, _inverses(blocks, beyond)))

    def apply(Y: Tensor) -> Tensor:
        Y = pad(Y, (0, 0, 0, 1))
        z = torch.zeros_like(Y)
        for atoms, rows, inverses in parts:
            z[rows, atoms] = (Y[rows, atoms][:, None, :] @ inverses)[:, 0, :]
        return z[:-1]

    return apply


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix⁻¹ right for one that is positive semi-definite, by Cholesky."""
    if not len(matrix):
        return right
    matrix = matrix + _RIDGES[0] ** 2 * matrix.diagonal().amax() * torch.eye(len(matrix)).to(matrix)
    return torch.cholesky_solve(right, torch.linalg.cholesky_ex(matrix).L)


def _inverses(blocks: Tensor, beyond: Tensor) -> Tensor:
    """Inverses of symmetric blocks [A, w, w], changed in place, that may be singular: texts that
    nearly agree make them so.  Iterations multiply by them faster than they solve with factors.

    Args:
        blocks: 0 where there is padding.
        beyond: [A, w], the padding.
    """
    diagonal = blocks.diagonal(dim1=1, dim2=2)
    largest = diagonal.amax(dim=1, keepdim=True).clamp(min=1e-30)
    diagonal.masked_fill_(beyond, 1.0)
    for ridge in _RIDGES:
        diagonal += ridge * largest
        factors, failed = torch.linalg.cholesky_ex(blocks)
        if not failed.any():
            break
    return torch.cholesky_inverse(factors)
