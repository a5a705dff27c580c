"""Codes that take up what the last steps of the anchored update would have moved atoms for."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 12  # of pivots for a text; most need one or two
_SLACK = 1e-9  # of a correlation, in units of lambda


def nearby_codes(
    atoms: Tensor, embeddings: Tensor, codes: Tensor, *, lmbda: float, least: Tensor
) -> Tensor:
    r"""The lasso of each text under the condition that it has its code's mask, from that code on.

    As in `fit_codes`, :math:`s_k \ge \text{least}_k` where the code is positive, and
    :math:`s_k \le 0` elsewhere.  Block pivoting: on the entries that are free, with signs
    :math:`\sigma`, :math:`s_A D_A D_A^\top = e D_A^\top - \lambda \sigma -` what the held ones
    explain; entries outside their bounds are held, held ones that gain by moving are freed.

    Args:
        atoms: [K, m] float64.
        embeddings: [n, m].
        codes: [n, K], close to the solution.
        lmbda: l1 weight, > 0.
        least: [n, K], > 0 where codes are.

    Returns:
        [n, K]; rows for which pivoting does not end, or atoms of a support depend on each other,
        are those given.
    """
    gram, against = atoms @ atoms.T, embeddings @ atoms.T
    solved = codes.clone()
    for row, code in enumerate(codes):
        on, free = code > 0, code != 0
        held = least[row].masked_fill(~on, 0.0)
        for _ in range(_ROUNDS):
            index = free.nonzero().flatten()
            signs = torch.where(on[index], 1.0, -1.0).to(gram)
            fixed = (on & ~free).nonzero().flatten()
            right = against[row, index] - lmbda * signs - gram[index][:, fixed] @ held[fixed]
            factor, failed = torch.linalg.cholesky_ex(gram[index][:, index])
            if failed:
                break
            new = held.clone()
            new[index] = torch.cholesky_solve(right[:, None], factor)[:, 0]
            correlations = against[row] - new @ gram
            outside = free & torch.where(on, new < held, new > 0)
            gains = torch.where(on, correlations, -correlations) > lmbda * (1 + _SLACK)
            if not (outside | gains & ~free).any():
                solved[row] = new
                break
            free = free & ~outside | gains & ~free
    return solved
