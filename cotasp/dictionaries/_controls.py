"""Cheap codes that are not lasso solutions: soft threshold and orthogonal matching pursuit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cotasp.dictionaries._cholesky import Array, Factor
from cotasp.dictionaries._homotopy import GramRows
from cotasp.dictionaries._lars import MANY


def threshold(X: Tensor, dictionary: Tensor, lmbda: float, positive: bool) -> tuple[Tensor, Tensor]:
    """sign(c)·max(|c| − lmbda, 0) for c = xDᵀ, [n, K]; see `cotasp.dictionaries.Threshold`."""
    c = X @ dictionary.mT
    code = (c - lmbda).clamp_(min=0) if positive else torch.nn.functional.softshrink(c, lmbda)
    return code, torch.ones(len(X), dtype=torch.int64, device=X.device)


def omp(X: Tensor, dictionary: Tensor, lmbda: float, max_iter: int) -> tuple[Tensor, Tensor]:
    """Codes [n, K] and sizes of the supports [n]; see `cotasp.dictionaries.OMP`."""
    targets, atoms = (np.ascontiguousarray(a.double().cpu().numpy()) for a in (X, dictionary))
    gram = GramRows(atoms, torch.float64, whole=len(X) >= MANY)
    code, n_iter = np.zeros((len(X), len(atoms))), np.zeros(len(X), dtype=np.int64)
    for i, x in enumerate(targets):
        chosen, values = _pursue(gram, x, lmbda, max_iter)
        code[i, chosen], n_iter[i] = values, len(chosen)
    return torch.from_numpy(code).to(X), torch.from_numpy(n_iter).to(X.device)


def _pursue(gram: GramRows, x: Array, lmbda: float, max_iter: int) -> tuple[list[int], Array]:
    """Atoms chosen for one x, in order, and their least-squares codes."""
    chosen: list[int] = []
    values: Array = np.empty(0)
    factor, barred = Factor(), np.zeros(len(gram.atoms), dtype=bool)
    c = gram.atoms @ x
    for _ in range(max_iter):
        g = np.abs(gram.atoms @ (x - values @ gram.atoms[chosen])) if chosen else np.abs(c)
        g[barred] = 0.0
        j = int(g.argmax())
        if g[j] <= lmbda:
            break
        barred[j] = True
        row = gram.row(j, np.broadcast_to(-g, (1, len(g))))
        if factor.append(row[chosen], row[j]) is not None:
            chosen.append(j)
            values = factor.backward(factor.forward(c[chosen]))
    return chosen, values
