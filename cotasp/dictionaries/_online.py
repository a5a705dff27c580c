"""The block-coordinate pass of online dictionary learning, in blocks of atoms."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotasp.dictionaries._cholesky import Array, one_thread
from cotasp.dictionaries.dictionary import Dictionary

UNUSED = 1e-6  # A_kk at or below this: no task used the atom (the reference's threshold)


def block_pass(dictionary: Dictionary, *, block: int = 64) -> None:
    r"""One Gauss–Seidel pass over the used atoms, in place; equal to the loop over atoms.

    :math:`D_k \leftarrow \Pi_c(D_k + (B_k - A_k D) / A_{kk})`, in order, for
    :math:`A_{kk} > 10^{-6}` (Mairal et al. 2009, Algorithm 2).  :math:`B - A D` is computed for
    a block of atoms at once from the atoms before the block; inside the block only the moves
    of the block's earlier atoms have to be added.

    Args:
        dictionary: its `atoms` change; A and B are read.
        block: atoms per matrix product; any value gives the same result but for rounding.
    """
    # 1,000 tiny steps: NumPy's overhead per call is a third of torch's.
    D, A, B = (x.cpu().numpy() for x in (dictionary.atoms, dictionary.A, dictionary.B))
    present = np.flatnonzero(A.diagonal() > 0)  # A is positive semidefinite: the rest is zero
    D, A, B = D[present], A[np.ix_(present, present)], B.T[present]
    moving = np.flatnonzero(A.diagonal() > UNUSED)
    with one_thread():
        for start in range(0, len(moving), block):
            _block(D, A, B, moving[start : start + block], dictionary.max_norm)
    dictionary.atoms[torch.from_numpy(present)] = torch.from_numpy(D).to(dictionary.atoms)


def _block(D: Array, A: Array, B: Array, rows: NDArray[np.intp], max_norm: float) -> None:
    """Moves some atoms of D [K, m] one after the other, in place."""
    # What the block's atoms lack, then per atom the moves of those before it.
    old, wanted, among = D[rows], B[rows] - A[rows] @ D, A[np.ix_(rows, rows)]
    moves = np.zeros_like(wanted)
    for i, k in enumerate(rows):
        new = old[i] + (wanted[i] - among[i, :i] @ moves[:i]) / A[k, k]
        norm = math.sqrt(new @ new)
        if norm > max_norm:
            new *= max_norm / norm
        np.subtract(new, old[i], out=moves[i])
    D[rows] = old + moves


def resample_unused(dictionary: Dictionary, embedding: Tensor) -> None:
    r"""Replaces every atom with :math:`A_{kk} \le 10^{-6}` by e + N(0, std(e)), projected.

    What the reference does with atoms that no task has used.  The draw is a function of the
    dictionary's seed and its number of recorded pairs.

    Args:
        dictionary: its `atoms` change.
        embedding: [m], e.
    """
    unused = dictionary.A.diagonal() <= UNUSED
    e = embedding.detach().to(dictionary.atoms)
    noise = torch.randn(
        int(unused.sum()), len(e), dtype=e.dtype, generator=dictionary.generator()
    ).to(e.device)
    dictionary.atoms[unused] = dictionary.project(e + e.std(correction=0) * noise)
