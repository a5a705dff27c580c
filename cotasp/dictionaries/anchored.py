r"""The least change of a dictionary that makes remembered codes the lasso of their texts.

Given embeddings :math:`e_i`, codes :math:`s_i` and atoms :math:`D_0`, find

.. math:: \min_D \tfrac12 ||D - D_0||_F^2 \quad\text{s.t.}\quad
   d_k \cdot r_i = \lambda\,\mathrm{sign}(s_{ik}) \ (s_{ik} \ne 0), \quad
   |d_k \cdot r_i| \le \mu\lambda \ (s_{ik} = 0), \quad r_i = e_i - s_i D, \quad ||d_k|| \le c

The mathematics, the cost and the limits are on the page `docs/anchored.md`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class AnchorResult(NamedTuple):
    """What `anchor` returns.

    Attributes:
        atoms: [K, m], the new atoms (the best visited, by violation).
        violation: [n], largest violation of each code's optimality, in units of lambda.
        n_iter: Gauss–Newton steps taken.
        converged: no violation above the tolerance.
    """

    atoms: Tensor
    violation: Tensor
    n_iter: int
    converged: bool


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
) -> AnchorResult:
    """Gauss–Newton with minimum-norm steps; see the page for every argument."""
    atoms, support = atoms.clone(), codes != 0
    held = torch.zeros_like(support)
    best = (float("inf"), atoms, None)
    for n_iter in range(max_iter + 1):  # noqa: B007
        residuals = embeddings - codes @ atoms
        G = residuals @ atoms.T
        violation = torch.where(support, (G - lmbda * codes.sign()).abs(), G.abs() - lmbda)
        violation = violation.clamp(min=0).amax(dim=1) / lmbda
        worst = float(violation.max())
        if worst < best[0]:
            best = (worst, atoms, violation)
        if worst <= tol:
            break
        held |= ~support & (G.abs() > margin * lmbda)
        target = torch.where(
            support, lmbda * codes.sign(), G.clamp(-margin * lmbda, margin * lmbda)
        )
        active = (support | held).to(atoms)
        atoms = atoms + _step((target - G) * active, active, atoms, residuals, codes, max_norm)
        atoms = atoms * (max_norm / atoms.norm(dim=1, keepdim=True)).clamp(max=1)
    return AnchorResult(best[1], best[2], n_iter, best[0] <= tol)


def _step(
    wanted: Tensor, active: Tensor, atoms: Tensor, residuals: Tensor, codes: Tensor, max_norm: float
) -> Tensor:
    norms = atoms.norm(dim=1, keepdim=True)
    normals = torch.where(norms >= max_norm * (1 - 1e-12), atoms / norms, 0.0)

    def adjoint(W: Tensor) -> Tensor:
        X = W.T @ residuals - codes.T @ (W @ atoms)
        return X - normals * (X * normals).sum(dim=1, keepdim=True)

    def forward(X: Tensor) -> Tensor:
        return active * (residuals @ X.T - (codes @ X) @ atoms.T)

    y, left, direction = torch.zeros_like(wanted), wanted, wanted
    size = start = float(wanted.square().sum())
    for _ in range(200):
        image = forward(adjoint(direction))
        length = size / float((direction * image).sum())
        y, left = y + length * direction, left - length * image
        size, before = float(left.square().sum()), size
        if size <= 1e-4 * start:
            break
        direction = left + (size / before) * direction
    return adjoint(y)
