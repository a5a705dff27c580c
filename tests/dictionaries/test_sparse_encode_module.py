"""Sparse coding as a TensorDict module, and the parts of LARS by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn

from cotasp.dictionaries import Fista, SparseEncode, sparse_encode
from cotasp.dictionaries._cholesky import Factor
from cotasp.errors import RecipeError, UnknownNameError
from tests.dictionaries.problems import problem

X, D = problem(6, 20, 8)


@pytest.mark.parametrize("batch", [(), (6,), (2, 3)])
@pytest.mark.parametrize("solver", ["lars", Fista()])
def test_any_batch_shape(batch, solver):
    rows = X[:1].reshape(8) if batch == () else X.reshape(*batch, 8)
    module = SparseEncode(D, lmbda=0.05, solver=solver, certificate=True)
    out = module(TensorDict({"embedding": rows}, batch_size=batch))
    expected = sparse_encode(rows.reshape(-1, 8), D, lmbda=0.05)
    torch.testing.assert_close(out["code"].reshape(-1, 20), expected.code, atol=1e-9, rtol=0)
    assert set(module.out_keys) <= set(out.keys())
    assert out["code_converged"].shape == (*batch, 1)
    assert out["code_converged"].all()


def test_a_link_in_a_chain_with_nested_keys():
    line = TensorDictSequential(
        TensorDictModule(nn.Identity(), in_keys=["text"], out_keys=[("task", "embedding")]),
        SparseEncode(
            D,
            lmbda=0.05,
            in_key=("task", "embedding"),
            out_key=("task", "code"),
            certificate=True,
            positive=True,
        ),
    )
    out = line(TensorDict(text=X))
    assert (out["task", "code"] >= 0).all()
    assert out["task", "code_kkt"].shape == (6, 1) or out["task", "code_kkt"].shape == (6,)


def test_what_no_lasso_is_made_of_is_refused_when_it_is_built():
    with pytest.raises(UnknownNameError, match=r"unknown solver 'larz'"):
        SparseEncode(D, lmbda=0.05, solver="larz")
    with pytest.raises(RecipeError, match=r"^SparseEncode\.solver: expected a registered name or"):
        SparseEncode(D, lmbda=0.05, solver=7)
    with pytest.raises(RecipeError, match=r"^SparseEncode\.lmbda: expected a finite .* got -1;"):
        SparseEncode(D, lmbda=-1)
    with pytest.raises(RecipeError, match=r"^SparseEncode\.positive: solver OMP has no positive"):
        SparseEncode(D, lmbda=0.05, positive=True, solver="omp")


def test_follows_its_dictionary_and_saves_it():
    module = SparseEncode(D.clone(), lmbda=0.05)
    module.dictionary.mul_(2)
    out = module(TensorDict(embedding=X, batch_size=[6]))
    assert torch.equal(out["code"], sparse_encode(X, 2 * D, lmbda=0.05).code)
    assert torch.equal(module.state_dict()["dictionary"], 2 * D)


def test_factor_equals_a_fresh_cholesky_after_any_changes():
    random = np.random.default_rng(0)
    atoms = random.standard_normal((200, 60))
    gram = atoms @ atoms.T
    factor, inside = Factor(capacity=1), []
    for j in range(200):
        if factor.append(gram[inside, j], gram[j, j]) is not None:
            inside.append(j)
        while len(inside) > 50 or (inside and random.random() < 0.4):
            i = int(random.integers(len(inside)))
            factor.remove(i)
            inside.pop(i)
        if inside:
            b = random.standard_normal(len(inside))
            solved = factor.backward(factor.forward(b))
            np.testing.assert_allclose(gram[np.ix_(inside, inside)] @ solved, b, atol=1e-9)
    assert len(inside) > 5


def test_factor_refuses_dependent_atoms():
    random = np.random.default_rng(0)
    atoms = random.standard_normal((3, 10))
    atoms = np.concatenate([atoms, atoms.sum(0, keepdims=True)])
    gram = atoms @ atoms.T
    factor = Factor()
    assert factor.refactor(gram[:3, :3])
    assert factor.append(gram[:3, 3], gram[3, 3]) is None
    assert factor.size == 3
    assert not factor.refactor(gram)
