"""What solvers of the lasso and update rules of dictionaries promise."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from cotasp.dictionaries import Dictionary, Solver, UpdateRule, sparse_encode
from cotasp.errors import ConvergenceWarning, RecipeError
from cotasp.testing._ensure import ensure


def lasso_problem(n: int, K: int, m: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit-norm Gaussian targets [n, m] and atoms [K, m], float64."""
    random = np.random.default_rng(seed)
    X, D = random.standard_normal((n, m)), random.standard_normal((K, m))
    X, D = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (X, D))
    return torch.from_numpy(X), torch.from_numpy(D)


def violation(X: Tensor, D: Tensor, code: Tensor, lmbda: float, positive: bool = False) -> float:
    """Largest distance of g = D(x − sD) from lmbda·∂||s||₁, by its intervals, as share of lmbda.

    Written apart from `cotasp.dictionaries.certificate`, which it is to confirm.
    """
    x, d, s = (a.double().numpy() for a in (X, D, code))
    g = (x - s @ d) @ d.T / lmbda
    low = np.where(s > 0, 1.0, -np.inf if positive else -1.0)
    high = np.where(s < 0, -1.0, 1.0)
    if positive:
        ensure(bool(s.min(initial=0.0) >= 0), "positive codes are at least 0")
    return float(np.maximum(np.maximum(low - g, g - high), 0.0).max(initial=0.0))


def objective(X: Tensor, D: Tensor, code: Tensor, lmbda: float) -> Tensor:
    """1/2||x − sD||² + lmbda||s||₁, [n]."""
    return 0.5 * (X - code @ D).square().sum(1) + lmbda * code.abs().sum(1)


def check_solver(solver: Solver) -> None:
    """Checks codes against the lasso's optimality conditions, and the verdict on them.

    A solver that says `exact` must reach the minimum, to its own `tol`; of another one the
    certificate must say how far from it a code is.

    Raises:
        AssertionError: a promise of `cotasp.dictionaries.Solver` is broken.
    """
    X, D = lasso_problem(6, 60, 24)
    copies = X.clone(), D.clone()
    lmbda = 0.2 * float((X @ D.mT).abs().max())
    result = _encoded(X, D, lmbda, solver)
    ensure(torch.equal(X, copies[0]) and torch.equal(D, copies[1]), "targets and atoms stay")
    ensure(result.code.dtype == X.dtype, f"codes are {X.dtype}, got {result.code.dtype}")
    ensure(torch.equal(_encoded(X, D, lmbda, solver).code, result.code), "is deterministic")
    tol = getattr(solver, "tol", 1e-6)
    for i in range(len(X)):
        row = slice(i, i + 1)
        share = violation(X[row], D, result.code[row], lmbda)
        certificate = float(result.kkt[i]) / lmbda
        told = f"the certificate is {share:.3g} lmbda, got {certificate:.3g} lmbda"
        ensure(abs(certificate - share) <= 1e-6 * max(share, 1e-8), told)
        ensure(bool(result.converged[i]) == (share <= tol), "converged tells of the tolerance")
    if solver.exact:
        reached = float(result.kkt.max()) / lmbda
        promise = f"an exact solver's largest KKT residual is at most its tol, {tol:g} lmbda"
        ensure(result.converged.all(), f"{promise}, got {reached:.3g} lmbda")
        best = objective(X, D, sparse_encode(X, D, lmbda=lmbda, solver="fista").code, lmbda)
        values = objective(X, D, result.code, lmbda)
        ensure((values <= best * (1 + 1e-6)).all(), "an exact solver minimises the objective")
    nothing = _encoded(torch.zeros(3, 24, dtype=X.dtype), D, lmbda, solver)
    ensure(not nothing.code.any(), "the code of 0 is 0")
    ensure(_encoded(X[:0], D, lmbda, solver).code.shape == (0, 60), "no targets have no codes")
    if solver.supports_positive:
        code = _encoded(X, D, lmbda, solver, positive=True).code
        share = violation(X, D, code, lmbda, positive=True)
        promise = f"positive codes are optimal to tol, {tol:g} lmbda, got {share:.3g} lmbda"
        ensure(not solver.exact or share <= tol, promise)
        return
    try:
        _encoded(X, D, lmbda, solver, positive=True)
    except RecipeError:
        return
    raise AssertionError("without positive codes, they are refused")


def _encoded(X: Tensor, D: Tensor, lmbda: float, solver: Solver, positive: bool = False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return sparse_encode(X, D, lmbda=lmbda, solver=solver, positive=positive)


def check_update_rule(rule: UpdateRule) -> None:
    """Checks that pairs are recorded, atoms changed in place and within their ball, inputs left
    alone, bad input refused, and that a reloaded dictionary goes on bit for bit.

    Raises:
        AssertionError: a promise of `cotasp.dictionaries.UpdateRule` is broken.
    """
    dictionary = Dictionary(40, 16, max_norm=0.9, seed=5)
    atoms = dictionary.atoms
    texts = teach(dictionary, rule, (1, 2, 3, 1))
    ensure(dictionary.atoms is atoms, "atoms are changed in place")
    ensure(int(dictionary.n_recorded) == 4, "every pair is recorded, once")
    ensure(len(dictionary.codes) == 3, "a text that comes again gets the new code, not a second")
    ensure(torch.equal(dictionary.embeddings[0], texts[-1][0].double()), "the memory has the text")
    ensure(torch.equal(dictionary.codes[0] > 0, texts[-1][1] > 0), "the memory has the code's mask")
    ensure(atoms.isfinite().all(), "atoms are finite")
    ensure((atoms.norm(dim=1) <= 0.9 * (1 + 1e-12)).all(), "atoms stay within max_norm")

    through, stopped, resumed = (Dictionary(40, 16, seed=seed) for seed in (5, 5, 99))
    teach(through, rule, (1, 2, 3, 4))
    teach(stopped, rule, (1, 2, 3))
    resumed.load_state_dict(stopped.state_dict())
    teach(resumed, rule, (4,))
    for key, value in through.state_dict().items():
        same = torch.equal(value, resumed.state_dict()[key])
        ensure(same, f"a reloaded dictionary goes on bit for bit, {key} does not")

    fresh = Dictionary(40, 16)
    embedding, code = torch.ones(16), torch.ones(40)
    for bad, fault in (
        ((embedding, code, 0.0), "an lmbda of 0"),
        ((embedding * float("nan"), code, 0.1), "an embedding that is not finite"),
        ((embedding, code[1:], 0.1), "a code of another size"),
    ):
        try:
            rule(fresh, *bad[:2], lmbda=bad[2])
        except RecipeError:
            ensure(int(fresh.n_recorded) == 0, f"{fault} is refused before it is recorded")
        else:
            raise AssertionError(f"{fault} is refused")


def teach(
    dictionary: Dictionary, rule: UpdateRule, seeds: tuple[int, ...], lmbda: float = 0.2
) -> list[tuple[Tensor, Tensor]]:
    """Ends a task per seed, with the code of its text less its first active unit; those pairs."""
    pairs = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        embedding = torch.randn(dictionary.n_features, generator=generator)
        embedding /= embedding.norm()
        code = sparse_encode(embedding[None].double(), dictionary.atoms, lmbda=lmbda).code[0]
        code[(code > 0).nonzero().flatten()[:1]] = 0.0
        copies = embedding.clone(), code.clone()
        rule(dictionary, embedding, code, lmbda=lmbda)
        ensure(torch.equal(embedding, copies[0]) and torch.equal(code, copies[1]), "inputs stay")
        pairs.append(copies)
    return pairs
