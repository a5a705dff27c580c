r"""The least change of a dictionary that makes remembered codes the lasso of their texts.

Given embeddings :math:`e_i`, codes :math:`s_i` and atoms :math:`D_0`, find

.. math:: \min_D \tfrac12 ||D - D_0||_F^2 \quad\text{s.t.}\quad
   d_k \cdot r_i = \lambda\,\mathrm{sign}(s_{ik}) \ (s_{ik} \ne 0), \quad
   |d_k \cdot r_i| \le \mu\lambda \ (s_{ik} = 0), \quad r_i = e_i - s_i D, \quad ||d_k|| \le c

by Gauss–Newton with minimum-norm steps.  The mathematics, the cost and the limits are on the
page `docs/anchored.md`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from cotasp.dictionaries.diagnostics import kkt_residual
from cotasp.errors import ConvergenceWarning

if TYPE_CHECKING:
    from cotasp.dictionaries.dictionary import Dictionary
    from cotasp.dictionaries.updates import Anchored

_ON_SPHERE = 1 - 1e-9  # share of max_norm from which an atom moves along the sphere only
_STEP_TOL = 1e-2  # relative residual of a step's linear system; Newton corrects the rest
_STEP_ITER = 300  # conjugate-gradient iterations per step, at most
_PATIENCE = 5  # steps within which ||V||² must at least halve


class AnchorResult(NamedTuple):
    """What `anchor` returns.

    Args:
        atoms: [K, m], the new atoms.  If not converged: of those visited, D_0 among them, the
            ones with the least mean of violations clipped to 1, so that a code that cannot be
            had does not cost those that can.
        violation: [n], largest violation of each code's optimality, in units of lambda.
        n_iter: Gauss–Newton steps taken.
        converged: no violation above the tolerance.
    """

    atoms: Tensor
    violation: Tensor
    n_iter: int
    converged: bool


class _Point(NamedTuple):
    """Atoms, and what the conditions say of them."""

    atoms: Tensor  # [K, m]
    residuals: Tensor  # R = E - S D, [n, m]
    wanted: Tensor  # V, what the correlations R D^T lack, [n, K]
    tight: Tensor  # [n, K], on the support or outside the margin
    violation: Tensor  # [n]

    @property
    def merit(self) -> float:
        return float(self.wanted.square().sum())

    @property
    def loss(self) -> float:
        return float(self.violation.clamp(max=1.0).mean())


def anchor(
    atoms: Tensor,
    embeddings: Tensor,
    codes: Tensor,
    *,
    lmbda: float,
    max_norm: float = 1.0,
    tol: float = 1e-6,
    margin: float = 0.95,
    max_iter: int = 50,
    max_change: float = math.inf,
) -> AnchorResult:
    r"""Least change of the atoms after which each code is its embedding's lasso solution.

    Gauss–Newton on the optimality conditions V(D) = 0: each step is the smallest change of D
    that satisfies them to first order, found by conjugate gradients, halved while it does not
    reduce ||V||.  Conditions off the support enter when they are violated and stay.

    Args:
        atoms: [K, m] float64, D_0, with norms at most `max_norm`; not modified.
        embeddings: [n, m], E.
        codes: [n, K], S; a support must have fewer than m elements.
        lmbda: l1 weight, > 0.
        max_norm: c, largest norm of an atom.
        tol: violation to reach, in units of lambda.
        margin: in (0, 1], bound on correlations off the support in units of lambda.
        max_iter: Gauss–Newton steps, at most.
        max_change: stop, not converged, where ||D - D_0|| exceeds this share of ||D_0||.
    """

    def look(atoms: Tensor) -> _Point:
        residuals = embeddings - codes @ atoms
        G = residuals @ atoms.T
        target = torch.where(support, lmbda * signs, G.clamp(-margin * lmbda, margin * lmbda))
        allowed = torch.where(support, lmbda * signs, G.clamp(-lmbda, lmbda))
        violation = (allowed - G).abs().amax(dim=1) / lmbda
        return _Point(atoms, residuals, target - G, support | (target != G), violation)

    support, signs = codes != 0, codes.sign()
    point = best = look(atoms)
    held, merits = point.tight, []
    while float(point.violation.max()) > tol and len(merits) < max_iter:
        merits.append(point.merit)
        if len(merits) > _PATIENCE and merits[-1] > 0.5 * merits[-1 - _PATIENCE]:
            break
        held = held | point.tight
        step = _least_step(point, held, codes, lmbda, max_norm)
        for length in (1.0, 0.5, 0.25, 0.125):
            moved = point.atoms + length * step
            norms = moved.norm(dim=1, keepdim=True)
            new = look(moved * (max_norm / norms).clamp(max=1.0))
            if new.merit < merits[-1]:
                break
        if (new.atoms - atoms).norm() > max_change * atoms.norm():
            break
        point = new
        best = min(best, point, key=lambda p: p.loss)
    converged = float(point.violation.max()) <= tol
    best = point if converged else best
    return AnchorResult(best.atoms, best.violation, len(merits), converged)


def _least_step(
    point: _Point, active: Tensor, codes: Tensor, lmbda: float, max_norm: float
) -> Tensor:
    r"""Smallest X [K, m] with J X = V on the active conditions, X_k tangent on the sphere.

    :math:`X = J^\top y,\ J J^\top y = V`, with
    :math:`J X = \mathrm{active} \circ (R X^\top - S X D^\top)` and
    :math:`J^\top Y = Y^\top R - S^\top (Y D)`, by preconditioned conjugate gradients.  A solution
    to 1 % is all that Newton needs, so the work is done in float32; residuals never are.
    """
    norms = point.atoms.norm(dim=1, keepdim=True)
    normals = torch.where(norms >= max_norm * _ON_SPHERE, point.atoms / norms, 0.0).float()
    D, R, S = point.atoms.float(), point.residuals.float(), codes.float()
    mask = active.float()

    def adjoint(Y: Tensor) -> Tensor:
        X = Y.T @ R - S.T @ (Y @ D)
        return X - normals * (X * normals).sum(dim=1, keepdim=True)

    def operator(Y: Tensor) -> Tensor:
        X = adjoint(Y)
        return mask * (R @ X.T - (S @ X) @ D.T)

    precondition = _per_task_inverse(point, active, codes)
    left = (point.wanted / lmbda).float() * mask
    goal = _STEP_TOL * left.norm()
    Y = torch.zeros_like(left)
    direction = z = precondition(left)
    size = (left * z).sum()
    for _ in range(_STEP_ITER):
        image = operator(direction)
        curvature = (direction * image).sum()
        if not curvature > 0:  # nothing left that the active conditions can see
            break
        length = size / curvature
        Y += length * direction
        left -= length * image
        if left.norm() <= goal:
            break
        z = precondition(left)
        size, before = (left * z).sum(), size
        direction = z + (size / before) * direction
    return lmbda * adjoint(Y).to(point.atoms)


def _per_task_inverse(point: _Point, active: Tensor, codes: Tensor) -> Callable[[Tensor], Tensor]:
    r"""Y to its product with the inverse of J J^T's diagonal blocks, one block per task.

    :math:`(JJ^\top)_{ii} = ||s_i||^2 DD^\top + ||r_i||^2 I - g_i s_i^\top - s_i g_i^\top`, with
    :math:`g_i = D r_i`, restricted to the active conditions of task i.
    """
    counts = active.sum(dim=1)
    width = int(counts.max())
    # Active indices first, in rows of equal width; what lies beyond the count is padding.
    index = active.int().argsort(dim=1, descending=True, stable=True)[:, :width]
    padding = torch.arange(width, device=index.device) >= counts[:, None]
    gram = point.atoms @ point.atoms.T
    G = point.residuals @ point.atoms.T
    g, s = (x.gather(1, index).masked_fill(padding, 0.0) for x in (G, codes))
    cross = g[:, :, None] * s[:, None, :]
    blocks = gram[index[:, :, None], index[:, None, :]]
    blocks = codes.square().sum(dim=1)[:, None, None] * blocks - cross - cross.mT
    blocks.masked_fill_(padding[:, :, None] | padding[:, None, :], 0.0)
    diagonal = blocks.diagonal(dim1=1, dim2=2)
    diagonal += point.residuals.square().sum(dim=1)[:, None]
    diagonal += 1e-7 * diagonal.amax(dim=1, keepdim=True).clamp(min=1e-30)
    factors = torch.linalg.cholesky(blocks).float()

    def apply(Y: Tensor) -> Tensor:
        rows = Y.gather(1, index).masked_fill(padding, 0.0)
        solved = torch.cholesky_solve(rows[:, :, None], factors)[:, :, 0]
        return torch.zeros_like(Y).scatter_(1, index, solved.masked_fill(padding, 0.0))

    return apply


def fit_codes(
    atoms: Tensor,
    embeddings: Tensor,
    codes: Tensor,
    *,
    lmbda: float,
    floor: float = 1e-3,
) -> Tensor:
    r"""The lasso of each text under the condition that it has the mask of its code.

    .. math:: \min_s \tfrac12 ||e - sD||^2 + \lambda ||s||_1 \ \text{s.t.}\
       s_k \ge \epsilon \ (\text{code}_k > 0), \quad s_k \le 0 \ (\text{code}_k \le 0)

    With :math:`s_k = \epsilon + u_k` and :math:`s_k = -u_k` it is a lasso in :math:`u \ge 0`,
    with the atoms of the second kind turned round.  A support of m or more elements would leave
    the lasso without a unique solution; of negative entries only the largest are kept, as many
    as make 95 % of m.

    Args:
        atoms: [K, m].
        embeddings: [n, m].
        codes: [n, K]; only their signs are read.
        lmbda: l1 weight, > 0.
        floor: epsilon > 0, smallest code of an active neuron.

    Returns:
        [n, K].
    """
    from cotasp.dictionaries.encode import sparse_encode

    fitted = torch.empty_like(codes)
    for row, (embedding, code) in enumerate(zip(embeddings, codes)):
        on = code > 0
        turned = torch.where(on[:, None], atoms, -atoms)
        rest = embedding - floor * atoms[on].sum(dim=0)
        u = sparse_encode(rest[None], turned, lmbda=lmbda, positive=True).code[0]
        negative = u.masked_fill(on, 0.0)
        room = max(int(0.95 * len(embedding)) - int(on.sum()), 0)
        if int((negative > 0).sum()) > room:
            negative[negative.argsort(descending=True)[room:]] = 0.0
        fitted[row] = torch.where(on, floor + u, -negative)
    return fitted


def anchor_dictionary(dictionary: Dictionary, rule: Anchored, *, lmbda: float) -> None:
    """Anchors all remembered pairs, in place; the work of the update rule `Anchored`.

    Args:
        dictionary: its `atoms`, and under "auto" or "fitted" its `codes`, change.
        rule: the settings.
        lmbda: l1 weight, > 0.

    Warns:
        ConvergenceWarning: some remembered code is not its text's lasso.
    """
    codes = dictionary.codes
    for fitted in {"trained": [False], "fitted": [True], "auto": [False, True]}[rule.codes]:
        if fitted:
            violation = kkt_residual(dictionary, codes, lmbda=lmbda) / lmbda
            off = violation > rule.tol
            texts, codes = dictionary.embeddings[off], codes.clone()
            codes[off] = fit_codes(
                dictionary.atoms, texts, codes[off], lmbda=lmbda, floor=rule.floor
            )
        result = anchor(
            dictionary.atoms,
            dictionary.embeddings,
            codes,
            lmbda=lmbda,
            max_norm=dictionary.max_norm,
            tol=rule.tol,
            margin=rule.margin,
            max_iter=rule.max_iter,
            max_change=rule.reach if rule.codes == "auto" and not fitted else math.inf,
        )
        if result.converged:
            break
    dictionary.codes.copy_(codes)
    dictionary.atoms.copy_(result.atoms)
    if not result.converged:
        missed = int((result.violation > rule.tol).sum())
        warnings.warn(
            f"Anchored: after {result.n_iter} steps {missed} of {len(codes)} remembered codes are "
            f"not their text's lasso, by up to {float(result.violation.max()):.1e} lambda "
            f"(tol {rule.tol:.0e}); a larger lmbda or a wider layer leaves more room",
            ConvergenceWarning,
            stacklevel=4,
        )
