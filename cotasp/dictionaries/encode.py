"""`sparse_encode`: one call for all solvers, with checked inputs and a certified result."""

from __future__ import annotations

import dataclasses
import math
import numbers
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from cotasp.dictionaries._certificate import certificate
from cotasp.dictionaries.solvers import Lars, Solver
from cotasp.errors import (
    ConvergenceWarning,
    PluginError,
    RecipeError,
    component_errors,
    refuse_returned,
)
from cotasp.registry import KINDS


class SparseCode(NamedTuple):
    """Codes and their certificate.

    Args:
        code: [n, K], exact zeros off the support, in the wider dtype of the inputs.
        dual_gap: [n] float64, as a share of ||x||²/2.
        kkt: [n] float64, largest violation of the optimality conditions, in the units of lmbda.
        n_iter: [n] int64, in the solver's own unit.
        converged: [n] bool, kkt ≤ tol·lmbda, or as near as the dtype of `code` can come.
    """

    code: Tensor
    dual_gap: Tensor
    kkt: Tensor
    n_iter: Tensor
    converged: Tensor


@torch.no_grad()
def sparse_encode(
    X: Tensor,
    dictionary: Tensor,
    *,
    lmbda: float,
    positive: bool = False,
    solver: str | Solver = "lars",
    init: Tensor | None = None,
    tol: float | None = None,
    max_iter: int | None = None,
) -> SparseCode:
    """Sparse codes of X, CoTASP Eq. 3: argmin_s 1/2||x − sD||² + lmbda||s||₁ for each row.

    Args:
        X: targets, [n, m], float32 or float64.
        dictionary: D, atoms in rows, [K, m], float32 or float64, on the device of X.
        lmbda: l1 weight, > 0, in the units of X @ dictionary.mT; the code is zero from its
            largest absolute entry on.
        positive: admit only codes ≥ 0.
        solver: a registered name, or a `Solver`.
        init: codes to start from, [n, K]; where zero is the better start it is taken instead.
        tol: KKT residual to reach as a share of lmbda, > 0; the solver's own if None.
        max_iter: the solver's own if None.

    Returns:
        The codes with duality gap and KKT residual of the returned point, computed in float64
        from `dictionary`.  In float32 a code can be no nearer to the solution than its own
        rounding; `converged` allows for that and `kkt` shows it.

    Raises:
        RecipeError: an argument is of the wrong type, shape or range, or not finite; the solver
            lacks `positive`, or `tol`, or `max_iter`.
        UnknownNameError: no such solver.
        PluginError: the solver raised an error, returned something that is not a code, or wrote
            into X or dictionary, which are then as they were.

    Warns:
        ConvergenceWarning: rows of an exact solver that missed the tolerance, and by how much.

    >>> import torch
    >>> from cotasp.dictionaries import sparse_encode
    >>> sparse_encode(torch.tensor([[3.0, -0.5, 1.5]]), torch.eye(3), lmbda=1.0).code
    tensor([[2.0000, 0.0000, 0.5000]])
    """
    solver = configured(solver, tol, max_iter)
    lmbda = _check_inputs(X, dictionary, lmbda, positive, init, solver)
    dtype = torch.promote_types(X.dtype, dictionary.dtype)
    X, dictionary = X.detach().to(dtype), dictionary.detach().to(dtype)
    if init is not None:
        init = _useful(init.detach().to(dtype), X, dictionary, lmbda, positive)
    code, n_iter = _call(solver, X, dictionary, lmbda, positive, init)
    dual_gap, kkt = certificate(X, dictionary, code, lmbda=lmbda, positive=positive)
    tol = getattr(solver, "tol", 1e-6)
    converged = kkt <= tol * lmbda
    if not converged.all():
        converged = kkt <= tol * lmbda + rounding(X, dictionary, code)
        if solver.exact and not converged.all():
            _report(solver, X, dictionary, code, lmbda, kkt, n_iter, converged, tol)
    return SparseCode(code, dual_gap, kkt, n_iter, converged)


def rounding(X: Tensor, dictionary: Tensor, code: Tensor) -> Tensor:
    """What rounding the code to its dtype can add to the KKT residual, [n] float64."""
    atom = torch.linalg.vector_norm(dictionary.double(), dim=1).amax()
    size = torch.linalg.vector_norm(X.double(), dim=1) + atom * code.double().abs().sum(1)
    return 4 * torch.finfo(code.dtype).eps * atom * size


def configured(
    solver: str | Solver,
    tol: float | None = None,
    max_iter: int | None = None,
    *,
    where: str = "sparse_encode",
) -> Solver:
    """A solver by its name or itself, with another tol and max_iter where they are given.

    Raises:
        RecipeError: no solver, or one without the field that is to change.
        PluginError: one without its declarations.
    """
    solver = KINDS["solver"].make(solver)
    if isinstance(solver, type) or not callable(solver):
        raise RecipeError(
            f"{where}.solver: expected a registered name or a solver instance, got "
            f"{solver!r}; known names: {', '.join(KINDS['solver'].names())}"
        )
    for missing in ("supports_positive", "exact"):
        if not isinstance(getattr(solver, missing, None), bool):
            raise PluginError(
                f"solver {type(solver).__name__}: expected a class attribute {missing!r} of True "
                f"or False; see cotasp.dictionaries.Solver"
            )
    held_to = getattr(solver, "tol", 1e-6)
    number = isinstance(held_to, numbers.Real) and not isinstance(held_to, bool)
    if not number or not 0 < held_to < math.inf:
        raise PluginError(
            f"solver {type(solver).__name__}: expected a field tol that is a number > 0, got "
            f"{held_to!r:.60}; leave the field out to be held to 1e-6"
        )
    changes = {k: v for k, v in (("tol", tol), ("max_iter", max_iter)) if v is not None}
    if not changes:
        return solver
    if not dataclasses.is_dataclass(solver):
        raise PluginError(
            f"solver {type(solver).__name__}: expected a dataclass, whose fields can be changed; "
            f"see cotasp.dictionaries.Solver"
        )
    fields = {f.name for f in dataclasses.fields(solver)}
    for name in changes:
        if name not in fields:
            raise RecipeError(
                f"{where}.{name}: solver {type(solver).__name__} has no such field; "
                f"leave {name} out"
            )
    return dataclasses.replace(solver, **changes)


def _check_matrix(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or value.ndim != 2:
        got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise RecipeError(
            f"sparse_encode.{name}: expected a tensor of two dimensions (rows, features), got "
            f"{got}; add the missing dimension with x[None]"
        )
    if value.dtype not in (torch.float32, torch.float64):
        raise RecipeError(
            f"sparse_encode.{name}: expected float32 or float64, got {value.dtype}; "
            f"convert it with .double()"
        )
    # a finite sum is proof enough and ten times as fast
    finite = value.new_ones(1) if torch.isfinite(value.sum()) else torch.isfinite(value).all(dim=1)
    if not finite.all():
        bad = (~finite).nonzero().flatten().tolist()
        rows = ", ".join(map(str, bad[:5])) + (", …" if len(bad) > 5 else "")
        raise RecipeError(
            f"sparse_encode.{name}: expected finite numbers, got NaN or infinity in "
            f"{len(bad)} of {len(value)} rows ({rows}); remove or repair them"
        )


def _check_inputs(
    X: Tensor,
    dictionary: Tensor,
    lmbda: float,
    positive: bool,
    init: Tensor | None,
    solver: Solver,
) -> float:
    """Raises RecipeError for what cannot be solved; returns lmbda as a float."""
    for name, value in (("X", X), ("dictionary", dictionary), ("init", init)):
        if value is not None:
            _check_matrix(name, value)
    if len(dictionary) == 0 or dictionary.shape[1] == 0 or X.shape[1] != dictionary.shape[1]:
        raise RecipeError(
            f"sparse_encode: expected X [n, m] and dictionary [K, m] with the same m ≥ 1 and "
            f"K ≥ 1, got {list(X.shape)} and {list(dictionary.shape)}; atoms are rows"
        )
    if init is not None and init.shape != (len(X), len(dictionary)):
        raise RecipeError(
            f"sparse_encode.init: expected codes of shape {[len(X), len(dictionary)]}, got "
            f"{list(init.shape)}; leave it out for a cold start"
        )
    devices = {a.device for a in (X, dictionary, init) if a is not None}
    if len(devices) > 1:
        raise RecipeError(
            f"sparse_encode: expected all tensors on one device, got "
            f"{', '.join(sorted(map(str, devices)))}; move them with .to(device)"
        )
    return check_lasso(lmbda, positive, solver)


def check_lasso(
    lmbda: float, positive: bool, solver: Solver, *, where: str = "sparse_encode"
) -> float:
    """Raises RecipeError for a lasso that a solver cannot solve; returns lmbda as a float."""
    try:
        number = math.nan if isinstance(lmbda, (bool, str)) else float(lmbda)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise RecipeError(
            f"{where}.lmbda: expected a finite number > 0, got {lmbda!r}; "
            f"the paper uses 1e-3 for unit-norm X and atoms"
        )
    if positive and not solver.supports_positive:
        raise RecipeError(
            f"{where}.positive: solver {type(solver).__name__} has no positive codes; "
            f"use one that has, as lars, fista or cd"
        )
    return number


def _objective(X: Tensor, dictionary: Tensor, code: Tensor, lmbda: float) -> Tensor:
    """1/2||x − sD||² + lmbda||s||₁, [n] float64."""
    X, dictionary, code = X.double(), dictionary.double(), code.double()
    return 0.5 * (X - code @ dictionary).square().sum(1) + lmbda * code.abs().sum(1)


def _useful(init: Tensor, X: Tensor, dictionary: Tensor, lmbda: float, positive: bool) -> Tensor:
    """Warm starts, with rows that are infeasible or worse than zero set to zero."""
    bad = ~(_objective(X, dictionary, init, lmbda) <= 0.5 * X.double().square().sum(1))
    if positive:
        bad |= (init < 0).any(1)
    return init.masked_fill(bad.unsqueeze(1), 0.0)


def _call(
    solver: Solver,
    X: Tensor,
    dictionary: Tensor,
    lmbda: float,
    positive: bool,
    init: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The solver's code and n_iter, checked for what a third party may get wrong."""
    shape = (len(X), len(dictionary))
    if len(X) == 0:
        return X.new_zeros(shape), torch.zeros(0, dtype=torch.int64, device=X.device)
    before = X.clone(), dictionary.clone()  # NumPy's writes leave a tensor's version as it is
    with component_errors("solver", solver):
        result = solver(X, dictionary, lmbda=lmbda, positive=positive, init=init)
        for name, given, copy in zip(("X", "dictionary"), (X, dictionary), before):
            if not torch.equal(given, copy):
                X.copy_(before[0])
                dictionary.copy_(before[1])
                wrong = f"one that wrote into {name}; let it work on {name}.clone()"
                refuse_returned("solver", solver, "__call__", "inputs left as they are", wrong)
        refuse_returned("solver", solver, "__call__", *_fault(result, X, shape))
        code, n_iter = result
        return code, n_iter.to(torch.int64)


def _fault(
    result: tuple[Tensor, Tensor], X: Tensor, shape: tuple[int, int]
) -> tuple[str, str | None]:
    """What a solver is to return, and what it did instead; None: nothing is wrong with it."""
    pair = isinstance(result, tuple) and len(result) == 2
    if not pair or not all(isinstance(part, Tensor) for part in result):
        remedy = "see cotasp.dictionaries.Solver"
        return "(code, n_iter), two tensors", f"{type(result).__name__}; {remedy}"
    code, n_iter = result
    if code.device != X.device or n_iter.device != X.device:
        got = f"{code.device} and {n_iter.device}; move them with .to(X.device)"
        return f"code and n_iter on {X.device}", got
    if code.shape != shape or n_iter.shape != shape[:1] or code.dtype != X.dtype:
        return (
            f"code {list(shape)} of {X.dtype} and n_iter [{len(X)}]",
            f"{list(code.shape)} of {code.dtype} and {list(n_iter.shape)}",
        )
    if not torch.isfinite(code).all():
        return "a finite code", "NaN or infinity"
    if not (torch.isfinite(n_iter) & (n_iter >= 0)).all():
        return "n_iter of integers ≥ 0", f"{n_iter.tolist()!s:.60}; count each row's iterations"
    return "", None


def _report(
    solver: Solver,
    X: Tensor,
    dictionary: Tensor,
    code: Tensor,
    lmbda: float,
    kkt: Tensor,
    n_iter: Tensor,
    converged: Tensor,
    tol: float,
) -> None:
    """Warns of rows that missed the tolerance; raises for what is no iterate of the lasso at all.

    An exact solver may stop early, but with a code that is better than doing nothing.
    """
    name = type(solver).__name__
    nothing = 0.5 * X.double().square().sum(1)
    worse = ~converged & (_objective(X, dictionary, code, lmbda) > nothing * (1 + 1e-5))
    if worse.any():
        raise PluginError(
            f"solver {name}: expected a solution, got codes whose objective is above that of the "
            f"zero code (row {int(worse.nonzero()[0])}); set its class attribute exact = False "
            f"if it does not minimise the lasso"
        )
    missed = ~converged
    most = getattr(solver, "max_iter", None)
    stopped = isinstance(most, numbers.Real) and int(n_iter[missed].max()) >= float(most)
    remedy = "Raise max_iter" if stopped else "Take a larger lmbda"
    if not isinstance(solver, Lars):
        remedy += ", or use solver='lars'"
    warnings.warn(
        f"{name}: {int(missed.sum())} of {len(missed)} rows did not converge; largest KKT "
        f"residual {float(kkt[missed].max()) / lmbda:.1e}·lmbda where {tol:.1e}·lmbda was asked "
        f"for. {remedy}.",
        ConvergenceWarning,
        stacklevel=4,
    )
