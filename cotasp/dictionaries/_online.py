"""The block-coordinate pass of online dictionary learning, in blocks of atoms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

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
    D = D.copy()
    diagonal = A.diagonal()
    moving = np.flatnonzero(diagonal > UNUSED)
    present = np.flatnonzero(diagonal > 0)  # A is positive semidefinite: other columns are zero
    for start in range(0, len(moving), block):
        rows = moving[start : start + block]
        # What the block's atoms lack, then per atom the moves of those before it.
        wanted = B.T[rows] - A[np.ix_(rows, present)] @ D[present]
        among = A[np.ix_(rows, rows)]
        moves = np.zeros_like(wanted)
        for i, k in enumerate(rows):
            new = D[k] + (wanted[i] - among[i, :i] @ moves[:i]) / diagonal[k]
            norm = np.sqrt(new @ new)
            if norm > dictionary.max_norm:
                new *= dictionary.max_norm / norm
            moves[i] = new - D[k]
        D[rows] += moves
    dictionary.atoms.copy_(torch.from_numpy(D))


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
