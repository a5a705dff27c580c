"""What every registered solver does at the edges; its contract is in `tests/test_contracts.py`."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from cotasp.dictionaries import Lars, sparse_encode
from cotasp.errors import RecipeError
from cotasp.registry import KINDS
from cotasp.testing import check_solver
from tests.dictionaries.problems import installed_solvers, problem, violation


@pytest.mark.parametrize("name", installed_solvers())
def test_positive_codes_or_a_clear_refusal(name):
    X, D = problem(5, 40, 20)
    solver = KINDS["solver"].make(name)
    if not solver.supports_positive:
        with pytest.raises(RecipeError, match=r"positive: solver \w+ has no positive codes"):
            sparse_encode(X, D, lmbda=0.02, solver=name, positive=True)
        return
    result = sparse_encode(X, D, lmbda=0.02, solver=name, positive=True)
    assert (result.code >= 0).all()
    if solver.exact:
        assert violation(X, D, result.code, 0.02, positive=True) <= solver.tol


@pytest.mark.parametrize("name", installed_solvers())
def test_soft_threshold_when_atoms_are_orthonormal(name):
    D = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64)).Q
    X = torch.randn(4, 16, dtype=torch.float64)
    expected = torch.nn.functional.softshrink(X @ D.mT, 0.3)
    if name == "omp":  # least squares on the same support: the shrinkage is what it leaves out
        expected = torch.where(expected != 0, X @ D.mT, 0.0)
    code = sparse_encode(X, D, lmbda=0.3, solver=name).code
    torch.testing.assert_close(code, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", installed_solvers())
def test_no_rows_and_zero_targets(name):
    _, D = problem(1, 10, 5)
    assert sparse_encode(torch.zeros(0, 5), D, lmbda=0.1, solver=name).code.shape == (0, 10)
    result = sparse_encode(torch.zeros(3, 5), D, lmbda=0.1, solver=name)
    assert (result.code == 0).all()
    assert (result.dual_gap == 0).all()
    assert result.converged.all()


def built_in() -> list[str]:
    solvers = KINDS["solver"]
    return [name for name in solvers.names() if solvers.location(name).startswith("cotasp.")]


@pytest.mark.parametrize("name", built_in())
@pytest.mark.parametrize(
    ("field", "value"), [("tol", 0.0), ("tol", float("nan")), ("max_iter", 0), ("max_iter", 1.5)]
)
def test_field_ranges(name, field, value):
    cls = KINDS["solver"].get(name)
    if field in {f.name for f in dataclasses.fields(cls)}:
        with pytest.raises(RecipeError, match=rf"{cls.__name__}\.{field}: expected"):
            cls(**{field: value})


def test_solver_components_import_no_torch():
    check = (
        "import sys, cotasp.dictionaries.solvers as s; s.Lars(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_what_is_compared_is_told_in_its_unit():
    """A solver that stops early is told its residual as the share of lmbda that `tol` is."""

    @dataclass(frozen=True)
    class Early:
        tol: float = 1e-9
        supports_positive: ClassVar[bool] = False
        exact: ClassVar[bool] = True

        def __call__(self, X, dictionary, *, lmbda, positive, init):
            code, n_iter = Lars()(X, dictionary, lmbda=lmbda, positive=positive, init=init)
            return code * (1 - 1e-7), n_iter

    with pytest.raises(AssertionError) as caught:
        check_solver(Early())
    told = re.fullmatch(r"an exact .* its tol, 1e-09 lmbda, got (.*) lmbda", str(caught.value))
    assert 1e-9 < float(told[1]) < 1e-6
