"""Lasso problems at the edge: ties, duplicates, zero atoms, dependent atoms, tiny lmbda."""

from __future__ import annotations

import warnings

import pytest
import torch

from cotasp.dictionaries import sparse_encode
from cotasp.errors import ConvergenceWarning
from tests.dictionaries.problems import OURS, largest, objective, problem, violation

pytestmark = pytest.mark.parametrize("name", OURS)


def exact_or_reported(X, D, lmbda, name):
    """Checks that lars is exact, and that the others are, or warn: for problems beyond them, on
    which they would spend all their iterations.
    """
    fewer = {} if name == "lars" else {"max_iter": 1000}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = sparse_encode(X, D, lmbda=lmbda, solver=name, **fewer)
    assert all(issubclass(w.category, ConvergenceWarning) for w in caught)
    assert result.converged.all() == (not caught)
    assert result.converged.all() or name != "lars"
    for i in result.converged.nonzero().flatten().tolist():
        assert violation(X[i : i + 1], D, result.code[i : i + 1], lmbda) <= 1e-9


def solved(X, D, lmbda, name, positive=False):
    """The result, after an independent check that it is a solution."""
    result = sparse_encode(X, D, lmbda=lmbda, solver=name, positive=positive)
    assert result.converged.all()
    assert violation(X, D, result.code, lmbda, positive) <= 1e-9
    return result


@pytest.mark.parametrize("factor", [1.0, 1.5, 1e9])
def test_lmbda_from_the_largest_correlation_on(name, factor):
    X, D = problem(1, 30, 12)
    result = solved(X, D, factor * largest(X, D) * (1 + 1e-15), name)
    assert (result.code == 0).all()
    assert float(result.dual_gap) <= 1e-14


def test_just_below_the_largest_correlation_one_atom_is_active(name):
    X, D = problem(1, 30, 12)
    result = solved(X, D, (1 - 1e-6) * largest(X, D), name)
    assert (result.code != 0).sum() == 1


@pytest.mark.parametrize("fraction", [0.7, 0.2, 0.02])
def test_duplicates(name, fraction):
    """Codes are not unique; what they build and what they cost is."""
    X, D = problem(4, 30, 12)
    lmbda = fraction * largest(X, D)
    single = solved(X, D, lmbda, name).code
    double = solved(X, torch.cat([D, D]), lmbda, name).code
    torch.testing.assert_close(double @ torch.cat([D, D]), single @ D, atol=1e-8, rtol=0)
    torch.testing.assert_close(double.abs().sum(1), single.abs().sum(1), atol=1e-8, rtol=0)


def test_mirrored_duplicates(name):
    X, D = problem(4, 30, 12)
    both = solved(X, torch.cat([D, -D]), 0.03, name).code
    torch.testing.assert_close(
        both @ torch.cat([D, -D]), solved(X, D, 0.03, name).code @ D, atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9, 1e-12])
def test_near_duplicates(name, distance):
    X, D = problem(4, 20, 12)
    D = torch.cat([D, D + distance * torch.randn(20, 12, dtype=torch.float64)])
    exact_or_reported(X, D, 0.05, name)


def test_ties(name):
    """Several atoms reach the bound at the same lmbda, and go on together."""
    D = torch.eye(6, dtype=torch.float64)
    X = torch.tensor([[1.0, 1, 1, -1, -1, 1], [1, 1, 0, 0, 0, 0]]).double()
    result = solved(X, D, 0.25, name)
    assert torch.allclose(result.code, X.sign() * 0.75, atol=1e-12)
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [1, 0], [0, 1]]).double()
    solved(torch.tensor([[1.0, 0], [1, 1]]).double(), corners, 0.1, name)


@pytest.mark.parametrize("where", ["some", "all"])
def test_zero_atoms(name, where):
    X, D = problem(3, 20, 10)
    D[:: 4 if where == "some" else 1] = 0.0
    code = solved(X, D, 0.02, name).code
    assert (code[:, ::4] == 0).all()


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("fraction", [0.5, 0.05])
def test_rank_deficient(name, rank, fraction):
    random = torch.Generator().manual_seed(rank)
    D = torch.randn(30, rank, generator=random, dtype=torch.float64) @ torch.randn(
        rank, 10, generator=random, dtype=torch.float64
    )
    X = torch.randn(4, 10, generator=random, dtype=torch.float64)
    result = solved(X, D, fraction * largest(X, D), name)
    assert ((result.code != 0).sum(1) <= 30).all()


def test_target_is_an_atom(name):
    _, D = problem(1, 30, 12)
    code = solved(D[3:4].clone(), D, 0.4, name).code
    assert float(code[0, 3]) == pytest.approx(0.6, abs=1e-9)
    assert (code != 0).sum() == 1


@pytest.mark.parametrize("shape", [(2, 12, 30), (2, 30, 12)])
def test_tiny_lmbda(name, shape):
    """At lmbda = 1e-6 of a unit-norm problem the code is basis pursuit's, to the last digit."""
    X, D = problem(*shape)
    exact_or_reported(X, D, 1e-6, name)


def test_single_atom_and_single_feature(name):
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(solved(3 * one, 2 * one, 1.0, name).code) == pytest.approx((6 - 1) / 4, abs=1e-12)
    X, D = problem(2, 8, 1)
    D = D * torch.arange(1, 9)[:, None]  # the longest atom is the cheapest
    assert ((solved(X, D, 0.5, name).code != 0).nonzero()[:, 1] == 7).all()


def test_positive_codes_with_negative_correlations_only(name):
    X, D = problem(1, 20, 10)
    D = -D * (X @ D.mT).sign().mT
    assert (solved(X, D, 0.01, name, positive=True).code == 0).all()


def test_atoms_of_very_different_norm(name):
    X, D = problem(3, 20, 10)
    D = D * torch.logspace(-4, 4, 20).double()[:, None]
    lmbda = 0.1 * largest(X, D)
    result = sparse_encode(X, D, lmbda=lmbda, solver=name)
    assert result.converged.all()
    exact = sparse_encode(X, D, lmbda=lmbda).code
    for code in (result.code, exact):
        assert (objective(X, D, code, lmbda) <= objective(X, D, exact, lmbda) * (1 + 1e-9)).all()
