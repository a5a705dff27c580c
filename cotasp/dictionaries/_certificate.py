"""How far a code is from the lasso solution, computed from the code and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def certificate(
    X: Tensor, dictionary: Tensor, code: Tensor, *, lmbda: float, positive: bool = False
) -> tuple[Tensor, Tensor]:
    """KKT residual and relative duality gap of codes, in float64.

    With r = x − sD and g = Dr, s minimises 1/2||x − sD||² + lmbda||s||₁ iff

        g_j = lmbda·sign(s_j) where s_j ≠ 0,    |g_j| ≤ lmbda where s_j = 0,

    and the residual is the largest violation over j.  The point theta = r·min(1, lmbda/max|g|) is
    feasible for the dual, so that 1/2||x − sD||² + lmbda||s||₁ − (1/2||x||² − 1/2||x − theta||²)
    bounds the distance of the objective from its minimum (Fercoq, Gramfort and Salmon 2015).
    With `positive` the conditions on g hold without the absolute value.

    Args:
        X: targets, [n, m].
        dictionary: atoms, [K, m].
        code: codes to judge, [n, K].
        lmbda: l1 weight, > 0.
        positive: whether only codes ≥ 0 were admitted; a negative entry then has kkt = inf.

    Returns:
        dual_gap: [n], as a share of ||x||²/2 (absolute where x = 0), ≥ 0.
        kkt: [n], in the units of lmbda, ≥ 0; compare it with lmbda.
    """
    X, dictionary, code = (a.double() for a in (X, dictionary, code))
    residual = X - code @ dictionary
    g = residual @ dictionary.mT
    on = code != 0
    bound = g if positive else g.abs()
    kkt = torch.where(on, (g - lmbda * code.sign()).abs(), (bound - lmbda).clamp(min=0)).amax(1)
    if positive:
        kkt = kkt.masked_fill((code < 0).any(1), torch.inf)
    scale = (lmbda / bound.amax(1).clamp(min=lmbda)).unsqueeze(1)
    energy = 0.5 * X.square().sum(1)
    primal = 0.5 * residual.square().sum(1) + lmbda * code.abs().sum(1)
    gap = primal - energy + 0.5 * (X - scale * residual).square().sum(1)
    return gap.clamp(min=0) / torch.where(energy > 0, energy, 1.0), kkt
