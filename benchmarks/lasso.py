"""Times lasso solvers at equal accuracy, one thread each.

    python benchmarks/lasso.py [--quick] [--json FILE]

Problems: unit-norm Gaussian atoms, 1024 × 384 as in the paper, unit-norm targets scaled so that
lmbda_max = 1.  Every method is run at tightening tolerances of its own until the KKT residual,
computed here in float64 from the dictionary, is at most 1e-6·lmbda on all rows; the time shown is
that of the run that got there.  Methods that treat one row after another are timed on as many
rows as the time budget allows, batched ones on all (`cd` on 40 at most: it is slow at small
lmbda).  Times are CPU times of this process, so that
other load on the machine counts little.  The other libraries are called as their users call them.
"""

from __future__ import annotations

# ruff: noqa: E402 - the thread counts must be set before the libraries load
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from _machine import machine

from cotasp.dictionaries import certificate, sparse_encode

TARGET = 1e-6
"""KKT residual to reach, as a share of lmbda."""

Solve = Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]
"""(X, dictionary, lmbda, tolerance) to codes."""


@dataclass(frozen=True)
class Method:
    """A way to solve, with the tolerances to try, loosest first."""

    name: str
    ours: bool
    batch: int  # rows to solve together, 0 for one after another
    tolerances: tuple[float, ...]
    solve: Solve


@dataclass(frozen=True)
class Row:
    """One measurement."""

    fraction: float
    rows: int
    method: str
    ours: bool
    tolerance: float
    ms_per_row: float
    kkt: float
    gap: float
    reached: bool


def our_method(solver: str) -> Solve:
    def solve(X, D, lmbda, tol):
        codes = sparse_encode(
            torch.from_numpy(X), torch.from_numpy(D), lmbda=lmbda, solver=solver, tol=tol
        )
        return codes.code.numpy()

    return solve


def sklearn_lars(X, D, lmbda, tol):
    from sklearn.decomposition import sparse_encode as encode

    return encode(X, D, algorithm="lasso_lars", alpha=lmbda, max_iter=10_000, check_input=False)


def sklearn_cd(X, D, lmbda, tol):
    from sklearn.linear_model import Lasso

    atoms, codes = np.asfortranarray(D.T), np.empty((len(X), len(D)))
    model = Lasso(alpha=lmbda / D.shape[1], fit_intercept=False, tol=tol, max_iter=20_000)
    for i, x in enumerate(X):
        codes[i] = model.fit(atoms, x, check_input=False).coef_
    return codes


def celer(X, D, lmbda, tol):
    from celer import Lasso

    atoms, codes = np.asfortranarray(D.T), np.empty((len(X), len(D)))
    model = Lasso(alpha=lmbda / D.shape[1], fit_intercept=False, tol=tol, max_iter=200)
    for i, x in enumerate(X):
        codes[i] = model.fit(atoms, x).coef_
    return codes


def spams(X, D, lmbda, tol):
    import spams as library

    X, D = np.asfortranarray(X.T), np.asfortranarray(D.T)
    return library.lasso(X, D=D, lambda1=lmbda, mode=2, numThreads=1).toarray().T


METHODS = (
    Method("lars", True, 0, (1e-9,), our_method("lars")),
    Method("fista", True, 200, (1e-9,), our_method("fista")),
    Method("cd", True, 40, (1e-9,), our_method("cd")),
    Method("sklearn lasso_lars", False, 0, (0.0,), sklearn_lars),
    Method("sklearn lasso_cd", False, 0, (1e-4, 1e-8, 1e-11, 1e-14), sklearn_cd),
    Method("celer", False, 0, (1e-4, 1e-8, 1e-11, 1e-14), celer),
    Method("spams", False, 0, (0.0,), spams),
)


def problem(rows: int, atoms: int, features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets with lmbda_max = 1 and unit-norm atoms."""
    random = np.random.default_rng(seed)
    D = random.standard_normal((atoms, features))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X = random.standard_normal((rows, features))
    return X / np.abs(X @ D.T).max(axis=1, keepdims=True), D


def timed(method: Method, X, D, lmbda: float, tol: float, budget: float) -> Row:
    """One measurement; row-by-row methods get as many rows as fit in `budget` seconds."""
    rows = X[: method.batch] if method.batch else X
    if not method.batch and len(X) > 4:
        start = time.process_time()
        method.solve(X[:2], D, lmbda, tol)
        each = (time.process_time() - start) / 2
        rows = X[: int(np.clip(budget / each, 2, len(X)))]
    start = time.process_time()
    codes = method.solve(rows, D, lmbda, tol)
    spent = time.process_time() - start
    gap, kkt = certificate(*map(torch.from_numpy, (rows, D, codes)), lmbda=lmbda)
    share = float(kkt.max()) / lmbda
    return Row(
        fraction=lmbda, rows=len(rows), method=method.name, ours=method.ours, tolerance=tol,
        ms_per_row=1e3 * spent / len(rows), kkt=share, gap=float(gap.max()),
        reached=share <= TARGET,
    )  # fmt: skip


def race(methods, X, D, lmbda: float, budget: float) -> list[Row]:
    """For every method its first run that reaches the target, or else its most accurate one."""
    results = []
    for method in methods:
        runs = []
        for tol in method.tolerances:
            runs.append(timed(method, X, D, lmbda, tol, budget))
            if runs[-1].reached:
                break
        results.append(min(runs, key=lambda run: (not run.reached, run.kkt)))
    return results


def single(methods, X, D, lmbda: float, repeats: int) -> list[Row]:
    """The same for one row at a time, Gram matrix and all: the median over rows."""
    results = []
    for method in methods:
        runs = [race([method], X[i : i + 1], D, lmbda, np.inf)[0] for i in range(repeats)]
        middle = sorted(runs, key=lambda run: run.ms_per_row)[len(runs) // 2]
        worst = max(runs, key=lambda run: run.kkt)
        changed = {"kkt": worst.kkt, "gap": worst.gap, "reached": all(r.reached for r in runs)}
        results.append(Row(**{**asdict(middle), **changed}))
    return results


def curve(X, D, lmbda: float) -> list[dict]:
    """Suboptimality against time: distance to the minimum, as a share of ||x||²/2, worst row."""

    def objective(codes):
        return 0.5 * ((X - codes @ D) ** 2).sum(1) + lmbda * np.abs(codes).sum(1)

    energy = 0.5 * (X**2).sum(1)
    least = objective(our_method("lars")(X, D, lmbda, 1e-9))
    points = []
    budgets = {
        "lars": ("max_iter", (30, 100, 300, 20_000)),
        "fista": ("max_iter", (10, 30, 100, 300, 1000)),
        "cd": ("max_iter", (1, 3, 10, 30, 100)),
    }
    for name, (field, values) in budgets.items():
        for value in values:
            start = time.process_time()
            result = sparse_encode(
                torch.from_numpy(X), torch.from_numpy(D), lmbda=lmbda, solver=name, **{field: value}
            )
            points.append(
                (name, f"{field}={value}", start, time.process_time(), result.code.numpy())
            )
    for method in METHODS:
        if not method.ours and available(method):
            for tol in method.tolerances:
                start = time.process_time()
                codes = method.solve(X, D, lmbda, tol)
                points.append((method.name, f"tol={tol:g}", start, time.process_time(), codes))
    return [
        {
            "fraction": lmbda,
            "method": name,
            "setting": setting,
            "ms_per_row": 1e3 * (end - start) / len(X),
            "suboptimality": float(np.max((objective(codes) - least) / energy)),
        }
        for name, setting, start, end, codes in points
    ]


def available(method: Method) -> bool:
    """Whether the library of a method is installed."""
    package = {"celer": "celer", "spams": "spams"}.get(method.name)
    try:
        if package:
            __import__(package)
    except ImportError:
        return False
    return True


def show(title: str, rows: list[Row]) -> None:
    """One table."""
    print(f"\n{title}")
    print(f"{'method':20}{'ms/row':>10}{'KKT/lmbda':>12}{'gap':>10}{'rows':>6}   ")
    for row in rows:
        verdict = "" if row.reached else f"did not reach {TARGET:g}·lmbda"
        print(
            f"{row.method:20}{row.ms_per_row:10.2f}{row.kkt:12.1e}{row.gap:10.1e}{row.rows:6d}   "
            f"{verdict}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows and lambdas, < 1 minute")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # who fails to converge is a column of the table
    rows, fractions, budget, repeats = options.rows, (0.5, 0.3, 0.1, 0.03, 0.006), 10.0, 5
    if options.quick:
        rows, fractions, budget, repeats = 20, (0.3, 0.03), 0.3, 2
    X, D = problem(rows, 1024, 384, options.seed)
    facts = machine("scikit-learn", "celer", "spams-bin", "spams")
    methods = [method for method in METHODS if available(method)]
    for method in methods:
        method.solve(X[:2], D, 0.5, 1e-4)  # imports and compilation happen here
    out: dict[str, object] = {"machine": facts, "target": TARGET, "single": [], "many": []}
    pair = [m for m in methods if m.name in ("lars", "sklearn lasso_lars", "spams")]
    for fraction in fractions:
        one = single(pair, X, D, fraction, repeats)
        show(f"one row, lmbda/lmbda_max = {fraction}", one)
        ratio = one[1].ms_per_row / one[0].ms_per_row
        print(f"lars is {ratio:.1f} times as fast as scikit-learn's lasso_lars")
        many = race(methods, X, D, fraction, budget)
        show(f"{rows} rows, lmbda/lmbda_max = {fraction}", many)
        ours = min((r for r in many if r.ours and r.reached), key=lambda r: r.ms_per_row)
        theirs = [r for r in many if not r.ours and r.reached]
        for other in sorted(theirs, key=lambda r: r.ms_per_row):
            ratio = other.ms_per_row / ours.ms_per_row
            print(f"{ours.method} is {ratio:.1f} times as fast as {other.method}")
        out["single"] += [asdict(r) for r in one]
        out["many"] += [asdict(r) for r in many]
    out["curve"] = curve(X[: 4 if options.quick else 20], D, 0.1)
    print("\nsuboptimality (share of ||x||²/2, worst row) against time, lmbda/lmbda_max =",
          out["curve"][0]["fraction"])  # fmt: skip
    for point in out["curve"]:
        print(
            "{method:20}{setting:18}{ms_per_row:10.2f} ms/row{suboptimality:12.1e}".format(**point)
        )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(out, file, indent=1)


if __name__ == "__main__":
    main()
