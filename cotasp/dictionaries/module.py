"""Sparse coding as a link in a chain of TensorDict modules."""

from __future__ import annotations

import torch
from tensordict.nn import TensorDictModuleBase
from tensordict.utils import NestedKey
from torch import Tensor, nn

from cotasp.dictionaries.encode import check_lasso, configured, sparse_encode
from cotasp.dictionaries.solvers import Lars, Solver


class SparseEncode(TensorDictModuleBase):
    """Reads an embedding, writes its sparse code, CoTASP Eq. 3.

    Args:
        dictionary: atoms, [K, m]; a buffer, updated in place by whoever owns it, or a parameter.
        lmbda: l1 weight, > 0.
        positive: admit only codes ≥ 0.
        solver: a registered name, or a `Solver`; called with its own tol and max_iter.
        in_key: embeddings, [*, m].
        out_key: codes, [*, K].
        certificate: also write (out_key + "_dual_gap"), "_kkt", "_n_iter" and "_converged", each
            [*, 1].

    Raises:
        RecipeError: no such solver, one that lacks `positive`, or `lmbda` out of range.

    >>> import torch
    >>> from tensordict import TensorDict
    >>> from cotasp.dictionaries import SparseEncode
    >>> module = SparseEncode(torch.eye(3), lmbda=1.0)
    >>> module(TensorDict(embedding=torch.tensor([3.0, -0.5, 1.5])))["code"]
    tensor([2.0000, 0.0000, 0.5000])
    """

    def __init__(
        self,
        dictionary: Tensor,
        *,
        lmbda: float,
        positive: bool = False,
        solver: str | Solver = Lars(),  # noqa: B008 - frozen
        in_key: NestedKey = "embedding",
        out_key: NestedKey = "code",
        certificate: bool = False,
    ):
        super().__init__()
        if isinstance(dictionary, nn.Parameter):
            self.dictionary = dictionary
        else:
            self.register_buffer("dictionary", dictionary)
        self.solver = configured(solver, where="SparseEncode")
        self.lmbda = check_lasso(lmbda, positive, self.solver, where="SparseEncode")
        self.positive = positive
        self.in_keys, self.out_keys = [in_key], [out_key]
        if certificate:
            *path, last = (out_key,) if isinstance(out_key, str) else out_key
            for name in ("dual_gap", "kkt", "n_iter", "converged"):
                key = f"{last}_{name}"
                self.out_keys.append((*path, key) if path else key)

    @torch.no_grad()
    def forward(self, tensordict):
        """Writes the code, and its certificate if asked for, into the TensorDict."""
        embedding = tensordict.get(self.in_keys[0])
        batch = embedding.shape[:-1]
        result = sparse_encode(
            embedding.reshape(-1, embedding.shape[-1]),
            self.dictionary,
            lmbda=self.lmbda,
            positive=self.positive,
            solver=self.solver,
        )
        for key, value in zip(self.out_keys, result):
            tensordict.set(key, value.reshape(*batch, *(value.shape[1:] or (1,))))
        return tensordict
