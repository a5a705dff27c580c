"""What the exact solvers of this library promise beyond the contract."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotasp.dictionaries import Dictionary, certificate, sparse_encode
from cotasp.errors import ConvergenceWarning
from cotasp.registry import KINDS
from tests.dictionaries.problems import OURS, largest, objective, problem, violation

FRACTIONS = (0.5, 0.3, 0.1, 0.03, 0.006)


def _duplicated(D):
    return torch.cat([D[: len(D) // 2], D[: len(D) // 2]])


@pytest.mark.parametrize("kind", ["random", "duplicated"])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_paper_size_lars_is_exact(fraction, kind):
    """1024 atoms of 384 features: KKT ≤ 1e-9·lmbda down to lmbda_max·0.006."""
    X, D = problem(2, 1024, 384)
    D = _duplicated(D) if kind == "duplicated" else D
    lmbda = fraction * largest(X, D)
    result = sparse_encode(X, D, lmbda=lmbda)
    assert result.converged.all()
    assert violation(X, D, result.code, lmbda) <= 1e-9
    assert float(result.dual_gap.max()) <= 1e-12


@pytest.mark.parametrize("kind", ["random", "duplicated"])
@pytest.mark.parametrize(
    ("name", "fraction"),
    [("fista", f) for f in FRACTIONS] + [("cd", f) for f in FRACTIONS[:3]],
)
def test_paper_size_batched_solvers_are_exact(name, fraction, kind):
    X, D = problem(2, 1024, 384)
    D = _duplicated(D) if kind == "duplicated" else D
    lmbda = fraction * largest(X, D)
    result = sparse_encode(X, D, lmbda=lmbda, solver=name)
    assert result.converged.all()
    assert violation(X, D, result.code, lmbda) <= 1e-9


@pytest.mark.parametrize("name", OURS)
def test_hundreds_of_rows(name):
    X, D = problem(300, 64, 24)
    result = sparse_encode(X, D, lmbda=0.05, solver=name)
    assert result.converged.all()
    assert violation(X, D, result.code, 0.05) <= 1e-9


@pytest.mark.parametrize("rule", KINDS["update"].names())
@pytest.mark.parametrize("name", OURS)
def test_dictionaries_that_were_updated(rule, name):
    """Twenty updates move atoms together; codes stay exact."""
    X, _ = problem(20, 1, 48)
    dictionary, update = Dictionary(128, 48), KINDS["update"].make(rule)
    lmbda = 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the rule's, not the solver's
        for x in X:
            code = sparse_encode(x[None], dictionary.atoms, lmbda=lmbda).code[0]
            update(dictionary, x, code, lmbda=lmbda)
    for fraction in FRACTIONS[:4]:
        lmbda = fraction * largest(X, dictionary.atoms)
        result = sparse_encode(X, dictionary.atoms, lmbda=lmbda, solver=name)
        assert result.converged.all()
        assert violation(X, dictionary.atoms, result.code, lmbda) <= 1e-9


shapes = st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 16))


@settings(max_examples=40, deadline=None)
@given(
    shape=shapes,
    seed=st.integers(0, 10_000),
    fraction=st.floats(0.02, 1.2),
    scale=st.floats(-4, 4).map(lambda e: 10.0**e),
    positive=st.booleans(),
)
@pytest.mark.parametrize("name", OURS)
def test_exact_on_any_shape_and_scale(name, shape, seed, fraction, scale, positive):
    X, D = problem(*shape, seed)
    X, D = X * scale, D / scale
    lmbda = fraction * largest(X, D)
    result = sparse_encode(X, D, lmbda=lmbda, solver=name, positive=positive)
    assert result.converged.all()
    assert violation(X, D, result.code, lmbda, positive) <= 2e-9
    best = sparse_encode(X, D, lmbda=lmbda, positive=positive)
    ours, other = (objective(X, D, r.code, lmbda) for r in (result, best))
    torch.testing.assert_close(ours, other, rtol=1e-9, atol=0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), fraction=st.floats(0.05, 0.9))
@pytest.mark.parametrize("name", OURS)
def test_symmetries(name, seed, fraction):
    """Permuting atoms permutes codes; flipping their signs flips codes; scales go through."""
    X, D = problem(3, 30, 12, seed)
    lmbda = fraction * largest(X, D)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(30, generator=generator)
    signs = torch.randint(0, 2, (30,), generator=generator).double() * 2 - 1

    def code(X, D, lmbda):
        return sparse_encode(X, D, lmbda=lmbda, solver=name).code

    expected = code(X, D, lmbda)
    for got in (
        code(X, D[order], lmbda)[:, order.argsort()],
        code(X, D * signs[:, None], lmbda) * signs,
        code(3 * X, D, 3 * lmbda) / 3,
        code(X, 5 * D, 5 * lmbda) * 5,
        -code(-X, D, lmbda),
    ):
        torch.testing.assert_close(got, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("positive", [False, True])
def test_batch_equals_loop(name, positive):
    X, D = problem(7, 50, 20)
    batch = sparse_encode(X, D, lmbda=0.03, solver=name, positive=positive).code
    loop = [sparse_encode(x[None], D, lmbda=0.03, solver=name, positive=positive) for x in X]
    torch.testing.assert_close(batch, torch.cat([r.code for r in loop]), atol=1e-10, rtol=0)
    assert torch.equal(batch != 0, torch.cat([r.code for r in loop]) != 0)


@pytest.mark.parametrize("name", OURS)
def test_hard_and_odd_rows_do_not_spoil_the_others(name):
    X, D = problem(6, 50, 20)
    alone = sparse_encode(X, D, lmbda=0.05, solver=name).code
    mixed = torch.cat([1e6 * X[:1], X[:3], torch.zeros(1, 20).double(), X[3:], 1e-9 * X[:1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        code = sparse_encode(mixed, D, lmbda=0.05, solver=name, max_iter=300).code
    torch.testing.assert_close(code[[1, 2, 3, 5, 6, 7]], alone, atol=1e-10, rtol=0)
    assert (code[[4, 8]] == 0).all()


@pytest.mark.parametrize("name", OURS)
def test_warm_start_ends_where_a_cold_one_does(name):
    X, D = problem(5, 60, 24)
    cold = sparse_encode(X, D, lmbda=0.03, solver=name)
    starts = {
        "solution": cold.code,
        "near": cold.code * (torch.rand_like(cold.code) > 0.1),
        "other lmbda": sparse_encode(X, D, lmbda=0.05).code,
        "dense": 0.1 * torch.randn_like(cold.code),
        "absurd": 1e6 * torch.ones_like(cold.code),
        "float32": cold.code.float(),
    }
    for start in starts.values():
        kept = start.clone()
        warm = sparse_encode(X, D, lmbda=0.03, solver=name, init=start)
        assert torch.equal(start, kept)
        torch.testing.assert_close(warm.code, cold.code, atol=1e-9, rtol=0)
    warm = sparse_encode(X, D, lmbda=0.03, solver=name, init=cold.code)
    assert (warm.n_iter <= 1).all()
    assert (cold.n_iter > 1).all()


@pytest.mark.parametrize("name", OURS)
def test_warm_start_with_negative_codes_is_no_trap_for_positive_ones(name):
    X, D = problem(4, 40, 20)
    start = sparse_encode(X, D, lmbda=0.03).code
    code = sparse_encode(X, D, lmbda=0.03, solver=name, init=start, positive=True).code
    assert violation(X, D, code, 0.03, positive=True) <= 1e-9


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    ("x_dtype", "d_dtype"),
    [(torch.float32, torch.float64), (torch.float64, torch.float32), (torch.float32,) * 2],
)
def test_dtypes(name, x_dtype, d_dtype):
    """The wider dtype comes back; in float32 the code is the rounded solution, and says so."""
    X, D = problem(4, 40, 20)
    X, D = X.to(x_dtype), D.to(d_dtype)
    result = sparse_encode(X, D, lmbda=0.03, solver=name)
    exact = sparse_encode(X.double(), D.double(), lmbda=0.03, solver=name).code
    assert result.code.dtype == torch.promote_types(x_dtype, d_dtype)
    assert result.converged.all()
    assert result.kkt.dtype == torch.float64
    assert torch.equal(result.code, exact.to(result.code.dtype))


@pytest.mark.parametrize("name", OURS)
def test_stopping_early_warns_with_the_figure_and_is_no_worse_than_zero(name):
    X, D = problem(4, 200, 80)
    with pytest.warns(ConvergenceWarning, match=r"4 of 4 rows did not converge; largest KKT .*e"):
        result = sparse_encode(X, D, lmbda=0.003, solver=name, max_iter=3)
    assert not result.converged.any()
    assert (objective(X, D, result.code, 0.003) <= 0.5 * X.square().sum(1)).all()
    assert (result.n_iter == 3).all()


def test_certificate_bounds_the_distance_to_the_minimum():
    X, D = problem(5, 40, 20)
    best = sparse_encode(X, D, lmbda=0.05).code
    least = objective(X, D, best, 0.05)
    for noise in (0.0, 1e-6, 1e-3, 1e-1):
        code = best + noise * torch.randn_like(best)
        gap, kkt = certificate(X, D, code, lmbda=0.05)
        excess = (objective(X, D, code, 0.05) - least) / (0.5 * X.square().sum(1))
        assert (gap >= excess - 1e-13).all()
        assert (kkt <= 1e-12).all() == (noise == 0)
