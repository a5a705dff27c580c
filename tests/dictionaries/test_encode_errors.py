"""Input that cannot be used is refused by name, with what was expected, what came, and a remedy."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from cotasp.dictionaries import Lars, sparse_encode
from cotasp.errors import ConvergenceWarning, PluginError, RecipeError, UnknownNameError
from cotasp.registry import KINDS
from tests.dictionaries.problems import problem

X, D = problem(3, 8, 5)
NAN, INF = float("nan"), float("inf")


def spoilt(a, value):
    a = a.clone()
    a[1, 2] = value
    return a


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": spoilt(X, NAN)}, r"encode\.X: expected finite .* in 1 of 3 rows \(1\)"),
        ({"X": spoilt(X, INF)}, r"encode\.X: expected finite"),
        ({"dictionary": spoilt(D, NAN)}, r"encode\.dictionary: expected finite .* 1 of 8 rows"),
        ({"dictionary": spoilt(D, -INF)}, r"encode\.dictionary: expected finite"),
        ({"init": spoilt(torch.zeros(3, 8), NAN)}, r"encode\.init: expected finite"),
        (
            {"X": X[0]},
            r"X: expected a tensor of two dimensions .* shape \[5\]; .*x\[None\]",
        ),
        ({"X": X.numpy()}, r"encode\.X: expected a tensor .* got ndarray"),
        ({"X": X.long()}, r"encode\.X: expected float32 or float64, got torch.int64"),
        ({"dictionary": D.half()}, r"encode\.dictionary: expected float32 .* got torch.float16"),
        ({"X": X[:, :4]}, r"same m .* got \[3, 4\] and \[8, 5\]; atoms are rows"),
        ({"dictionary": D[:0]}, r"K ≥ 1, got \[3, 5\] and \[0, 5\]"),
        ({"init": torch.zeros(3, 7)}, r"encode\.init: expected codes of shape \[3, 8\]"),
        ({"lmbda": 0.0}, r"encode\.lmbda: expected a finite number > 0, got 0.0"),
        ({"lmbda": -1}, r"got -1"),
        ({"lmbda": NAN}, r"got nan"),
        ({"lmbda": INF}, r"got inf"),
        ({"lmbda": "1e-3"}, r"got '1e-3'"),
        ({"lmbda": True}, r"got True"),
        ({"lmbda": None}, r"got None"),
        ({"positive": True, "solver": "omp"}, r"solver OMP has no positive codes; use one"),
        ({"solver": "threshold", "tol": 1e-3}, r"encode\.tol: solver Threshold has no such field"),
        ({"tol": -1.0}, r"Lars\.tol: expected a number > 0"),
        ({"max_iter": 0}, r"Lars\.max_iter: expected an integer ≥ 1"),
        ({"solver": 7}, r"encode\.solver: expected a registered name or a solver instance, got 7"),
        ({"solver": KINDS["solver"].get("lars")}, r"expected a registered name or a solver inst"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(RecipeError, match=message):
        sparse_encode(**{"X": X, "dictionary": D, "lmbda": 0.1, **arguments})


def test_huge_but_finite_numbers_are_accepted():
    """Their sum overflows, which is no proof that one of them is infinite."""
    big = torch.full((1, 5), 1.5e308, dtype=torch.float64)
    with pytest.raises(RecipeError, match="expected finite"):
        sparse_encode(torch.cat([big, big * 10]), D, lmbda=0.1)
    code = sparse_encode(big, torch.eye(5).double() * 1e-300, lmbda=1e9).code
    assert (code == 0).all()


def test_unknown_solver_suggests_one():
    with pytest.raises(UnknownNameError, match=r"unknown solver 'larz'\. Did you mean 'lars'"):
        sparse_encode(X, D, lmbda=0.1, solver="larz")


def plugin(result, exact=True):
    """A solver that returns what `result` makes of the lasso's solution."""

    @dataclass(frozen=True)
    class Faulty:
        supports_positive: ClassVar[bool] = False
        exact: ClassVar[bool] = True

        def __call__(self, X, dictionary, *, lmbda, positive, init):
            code = sparse_encode(X, dictionary, lmbda=lmbda).code
            return result(code, torch.ones(len(X), dtype=torch.int64))

    Faulty.exact = exact
    return Faulty()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda code, n: code, r"__: expected \(code, n_iter\), two tensors, got Tensor"),
        (lambda code, n: (code.numpy(), n), r"expected \(code, n_iter\), two tensors, got tuple"),
        (lambda code, n: (code.mT, n), r"expected code \[3, 8\] .* got \[8, 3\]"),
        (lambda code, n: (code.float(), n), r"of torch.float64 .* of torch.float32"),
        (lambda code, n: (code, n[:1]), r"n_iter \[3\], got .* and \[1\]"),
        (lambda code, n: (code / 0, n), r"expected a finite code, got NaN or infinity"),
        (lambda code, n: (code.to("meta"), n), r"code and n_iter on cpu, got meta and cpu; move"),
        (lambda code, n: (code, n.to("meta")), r"code and n_iter on cpu, got cpu and meta; move"),
        (lambda code, n: (code, n * NAN), r"n_iter of integers ≥ 0, got \[nan, nan, nan\]; count"),
        (lambda code, n: (code, -n), r"n_iter of integers ≥ 0, got \[-1, -1, -1\]"),
        (lambda code, n: (code, n.to(torch.complex64)), r"raised \w+Error"),
        (lambda code, n: (code.to_sparse(), n), r"raised \w+Error"),
        (lambda code, n: (code + 1, n), r"expected a solution, got .* above that of the zero code"),
        (lambda code, n: (-code, n), r"row 0\); set its class attribute exact = False"),
    ],
)
def test_plugins_that_break_the_protocol(result, message):
    with pytest.raises(PluginError, match=message):
        sparse_encode(X, D, lmbda=0.1, solver=plugin(result))


WRITES = {
    "torch": lambda given: given.mul_(0),
    "numpy": lambda given: given.numpy().fill(0),  # tensors do not count such writes
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
@pytest.mark.parametrize("name", ["X", "dictionary"])
def test_a_plugin_that_writes_into_its_inputs_is_named_and_spoils_nothing(name, write):
    @dataclass(frozen=True)
    class Spoiler:
        supports_positive: ClassVar[bool] = False
        exact: ClassVar[bool] = True

        def __call__(self, X, dictionary, *, lmbda, positive, init):
            write({"X": X, "dictionary": dictionary}[name])
            return X.new_zeros(len(X), len(dictionary)), torch.ones(len(X))

    targets, atoms = X.clone(), D.clone()
    with pytest.raises(PluginError, match=rf"^solver Spoiler .* wrote into {name}; .*clone"):
        sparse_encode(targets, atoms, lmbda=0.1, solver=Spoiler())
    assert torch.equal(targets, X)
    assert torch.equal(atoms, D)


@pytest.mark.parametrize("tol", [None, "1e-6", 0, -1.0, NAN, True])
def test_a_plugin_whose_tolerance_is_no_number(tol):
    solver = plugin(lambda code, n: (code, n))
    type(solver).tol = tol
    with pytest.raises(PluginError, match=rf"solver Faulty: expected a field tol .* got {tol!r};"):
        sparse_encode(X, D, lmbda=0.1, solver=solver)


def test_the_remedy_is_one_that_helps(monkeypatch):
    """More iterations where they ran out, else a larger lmbda; never lars in place of lars."""

    @dataclass(frozen=True)
    class Short:
        max_iter: int = 1
        supports_positive: ClassVar[bool] = False
        exact: ClassVar[bool] = True

        def __call__(self, X, dictionary, *, lmbda, positive, init):
            return X.new_zeros(len(X), len(dictionary)), torch.ones(len(X), dtype=torch.int64)

    for solver, remedy in (
        (Short(), r"Raise max_iter, or use solver='lars'\.$"),
        (Short(5), r"Take a larger lmbda, or use solver='lars'\.$"),
    ):
        with pytest.warns(ConvergenceWarning, match=remedy):
            sparse_encode(X, D, lmbda=0.1, solver=solver)
    monkeypatch.setattr(Lars, "__call__", Short.__call__)
    for solver, remedy in ((Lars(max_iter=1), "Raise max_iter"), (Lars(), "Take a larger lmbda")):
        with pytest.warns(ConvergenceWarning, match=rf"asked for\. {remedy}\.$"):
            sparse_encode(X, D, lmbda=0.1, solver=solver)


def test_a_plugin_that_is_nearly_right_gets_a_warning_only():
    with pytest.warns(ConvergenceWarning, match=r"Faulty: 3 of 3 rows .* 1\.0e-06·lmbda was asked"):
        result = sparse_encode(X, D, lmbda=0.1, solver=plugin(lambda code, n: (0.9 * code, n)))
    assert not result.converged.any()


def test_a_plugin_that_claims_nothing_is_certified_all_the_same():
    result = sparse_encode(X, D, lmbda=0.1, solver=plugin(lambda c, n: (c + 1, n), exact=False))
    assert not result.converged.any()
    assert (result.kkt > 0.1).all()


def test_a_plugin_without_its_declarations():
    @dataclass(frozen=True)
    class Bare:
        def __call__(self, *args, **kwargs):
            raise AssertionError("must not be called")

    with pytest.raises(PluginError, match="Bare: expected a class attribute 'supports_positive'"):
        sparse_encode(X, D, lmbda=0.1, solver=Bare())


def test_an_error_of_a_plugin_names_it_and_keeps_its_cause():
    def fail(code, n):
        raise IndexError("out of range")

    told = rf"solver Faulty \(of {__name__}\) raised IndexError: out of range"
    with pytest.raises(PluginError, match=told) as raised:
        sparse_encode(X, D, lmbda=0.1, solver=plugin(fail))
    assert isinstance(raised.value.__cause__, IndexError)

    @dataclass(frozen=True)
    class OtherWords:
        supports_positive: ClassVar[bool] = True
        exact: ClassVar[bool] = True

        def __call__(self, X, dictionary, *, alpha, positive, init):
            raise AssertionError("cannot be called")

    with pytest.raises(PluginError, match=r"solver OtherWords .* unexpected keyword .*'lmbda'"):
        sparse_encode(X, D, lmbda=0.1, solver=OtherWords())


def test_errors_of_this_library_are_not_wrapped():
    def refuse(code, n):
        raise RecipeError("mine")

    with pytest.raises(RecipeError, match=r"^mine$"):
        sparse_encode(X, D, lmbda=0.1, solver=plugin(refuse))


def test_a_solver_whose_package_is_missing_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "celer", None)
    with pytest.raises(RecipeError, match=r"^solver 'celer' needs .* pip install 'cotasp\[celer"):
        sparse_encode(X, D, lmbda=0.1, solver="celer")
