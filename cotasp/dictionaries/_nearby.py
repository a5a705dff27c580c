"""Codes that follow the atoms: they take up what steps would move atoms for."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 20  # of solving and pivoting for a call; most texts need two to four
_SLACK = 1e-9  # of a correlation, in units of lambda
_SLOW = 0.1  # a factor is made anew where it leaves more than this of what a code lacked


class NearbyCodes:
    r"""The lasso of each text under the condition that it has its code's mask, near that code.

    As in `fit_codes`, :math:`s_k \ge \text{least}_k` where the code is positive, and
    :math:`s_k \le 0` elsewhere.  Block pivoting: on the entries A that are free, with signs
    :math:`\sigma`, codes are corrected by :math:`(D_A D_A^\top)^{-1} (g_A - \lambda\sigma)`;
    entries outside their bounds are held, held ones that gain by moving are freed.  Factors are
    kept from call to call: for atoms that moved little, one of before corrects nearly as well.

    Args:
        embeddings: [n, m] float64.
        codes: [n, K], close to the solution; not modified.
        lmbda: l1 weight, > 0.
        least: [n, K], > 0 where codes are, else 0.
    """

    def __init__(self, embeddings: Tensor, codes: Tensor, *, lmbda: float, least: Tensor) -> None:
        self._embeddings, self._lmbda, self._least = embeddings, lmbda, least
        self._codes, self._on = codes.clone(), codes > 0
        self._free = (codes != 0) & (codes != least)
        self._factors: list[Tensor | None] = [None] * len(codes)

    def at(self, atoms: Tensor) -> Tensor:
        """The codes [n, K] for atoms [K, m].

        Rows for which pivoting does not end, or atoms of a support depend on each other, are not
        optimal.
        """
        gram = (atoms @ atoms.T).float() if self._factors.count(None) == len(self._codes) else None
        signs = torch.where(self._on, 1.0, -1.0).to(atoms)
        live = torch.arange(len(self._codes), device=atoms.device)
        before = atoms.new_full((len(live),), torch.inf)
        for _ in range(_ROUNDS):
            codes, on, free = self._codes[live], self._on[live], self._free[live]
            g = (self._embeddings[live] - codes @ atoms) @ atoms.T
            lacking = (g - self._lmbda * signs[live]).mul_(free)
            lack = lacking.abs().amax(dim=1)
            solved = lack <= _SLACK * self._lmbda
            outside = free & torch.where(on, codes < self._least[live], codes > 0)
            gains = (g * signs[live] > self._lmbda * (1 + _SLACK)) & ~free
            changed = (outside | gains) & solved[:, None]
            slow = (~(lack <= _SLOW * before[live])).tolist()
            before[live] = lack
            for place in changed.any(dim=1).nonzero().flatten().tolist():
                row = int(live[place])
                self._factors[row] = None
                self._free[row] = free[place] & ~outside[place] | gains[place]
                self._codes[row] = torch.where(outside[place], self._least[row], codes[place])
                before[row] = torch.inf
            for place in (~solved).nonzero().flatten().tolist():
                row, index = int(live[place]), free[place].nonzero().flatten()
                factor = self._factors[row]
                if factor is None or slow[place]:
                    if slow[place] or gram is None:
                        rows = atoms[index].to(torch.float64 if slow[place] else torch.float32)
                        block = rows @ rows.T
                    else:
                        block = gram[index[:, None], index]
                    factor = self._factors[row] = torch.linalg.cholesky_ex(block).L
                right = lacking[place, index, None].to(factor)
                self._codes[row, index] += torch.cholesky_solve(right, factor)[:, 0]
            live = live[~solved | changed.any(dim=1)]
            if len(live) == 0:
                break
        return self._codes.clone()
