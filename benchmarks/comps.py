"""CoMPS against PPO from scratch, fine-tuned and from a clone: returns while tasks are learned.

    python benchmarks/comps.py --seeds 10 --orders random arc sweep --json results/comps.json
    python benchmarks/comps.py --family cheetah --seeds 5 --orders random sweep --json FILE

`point`: eight goals of the toy on a circle, 150 episodes a task in batches of ten, by
`recipes/comps_point*.yaml`.  `cheetah`: ten velocities of HalfCheetah, 300 episodes a task in
batches of ten, by `recipes/comps_cheetah*.yaml`.  A seed gives all methods the same tasks and the
same first network; intervals are paired bootstraps over seeds (95 %, 4,000 draws) of means over the
tasks from the fifth on.  Runs that are on file are not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks._machine import machine
from cotasp.continual.loop import run
from cotasp.recipe import load

RECIPES = Path(__file__).parents[1] / "recipes"
METHODS = {"scratch": "_scratch", "finetuned": "_finetuned", "cloning": "_cloning", "comps": ""}
THRESHOLDS = {"point": 14.0, "cheetah": -100.0}  # return of a batch, by family
ORDERS = {
    "random": [],
    "arc": ["stream.arc=90"],
    "sweep": ["stream.order=sweep"],
}
FROM_TASK = 4  # the fifth
BATCH = 10  # episodes
DRAWS = 4_000
Differences = dict[str, dict[str, tuple[float, float, float]]]


def train(family: str, method: str, order: str, seed: int, more: list[str]) -> dict:
    """Mean return of the episodes of every batch of every task, [T][batches], and seconds."""
    overrides = [f"seed={seed}", f"stream.seed={seed}", "evaluation.episodes=1", *ORDERS[order]]
    recipe = load(RECIPES / f"comps_{family}{METHODS[method]}.yaml", [*overrides, *more])
    began, used = time.time(), time.process_time()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        summary = run(recipe, Path(folder) / "run", progress=False)
    return {
        "family": family,
        "method": method,
        "order": order,
        "seed": seed,
        "overrides": more,
        "episode_return": summary["training"]["episode_return"],
        "seconds": round(time.time() - began, 1),
        "processor_seconds": round(time.process_time() - used, 1),
    }


def figures(returns: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    """Of [T, batches]: the figures of the table, one value per seed's row of a stack."""
    late = returns[:, FROM_TASK:]
    reached = late >= threshold
    batches = late.shape[-1]
    first = np.where(reached.any(-1), reached.argmax(-1), batches)
    return {
        "first batch": late[..., 0].mean(-1),
        "second batch": late[..., 1].mean(-1),
        "mean of the phase": late.mean((-1, -2)),
        "last batch": late[..., -1].mean(-1),
        f"episodes to {threshold:g}": (first * BATCH).mean(-1),
    }


def interval(of: Callable[[np.ndarray], float], seeds: int) -> tuple[float, float, float]:
    """A figure of the seeds, and its 95 % bootstrap interval over them."""
    draws = np.random.default_rng(0).integers(seeds, size=(DRAWS, seeds))
    values = [of(draw) for draw in draws]
    low, high = np.percentile(values, [2.5, 97.5])
    return of(np.arange(seeds)), float(low), float(high)


def written(values: tuple[float, float, float], digits: int = 1) -> str:
    value, low, high = values
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def compare(rows: list[dict], family: str, order: str) -> Differences:
    """Prints an order's tables; returns the comparisons with CoMPS."""
    found: dict[str, dict[str, np.ndarray]] = {}
    of_order = [row for row in rows if row["order"] == order]
    by_method = {m: {r["seed"]: r for r in of_order if r["method"] == m} for m in METHODS}
    by_method = {method: mine for method, mine in by_method.items() if mine}
    seeds = sorted(set.intersection(*map(set, by_method.values()))) if by_method else []
    for method, mine in by_method.items():
        if seeds:
            stack = np.array([mine[seed]["episode_return"] for seed in seeds], dtype=float)
            found[method] = figures(stack, THRESHOLDS[family])
            tasks = stack.shape[1]
            per_task = stack.mean((0, 2))
            print(f"{order:7} {method:10} by task: " + " ".join(f"{x:5.1f}" for x in per_task))
    n = len(seeds)
    if not n:
        return {}
    print(f"\n{order}, {n} seeds, tasks {FROM_TASK + 1} to {tasks}, mean [95 % over seeds]")
    for method, of in found.items():
        cells = [f"{k} {written(interval(lambda d, v=v: v[d].mean(), n))}" for k, v in of.items()]
        print(f"  {method:10} " + "; ".join(cells))
    differences: Differences = {}
    if "comps" in found:
        ours = found["comps"]
        print("  CoMPS minus each; episodes: each divided by CoMPS")
        for method, of in found.items():
            if method == "comps":
                continue
            row = {}
            for name, values in of.items():
                if name.startswith("episodes"):
                    row[name] = interval(
                        lambda d, a=values, b=ours[name]: a[d].mean() / b[d].mean(), n
                    )
                else:
                    row[name] = interval(lambda d, a=values, b=ours[name]: (b - a)[d].mean(), n)
            differences[method] = row
            cells = [
                f"{k} {written(v, 2 if k.startswith('episodes') else 1)}" for k, v in row.items()
            ]
            print(f"  - {method:8} " + "; ".join(cells))
    print()
    return differences


def main() -> int:
    """Trains what is missing, prints the tables."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--family", choices=THRESHOLDS, default="point")
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--orders", nargs="+", choices=ORDERS, default=["random"])
    arguments.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments.add_argument("--json", metavar="FILE", help="where runs are kept, and read from")
    arguments.add_argument("overrides", nargs="*", metavar="key=value", help="of all recipes")
    options = arguments.parse_intermixed_args()
    torch.set_num_threads(1)
    facts = machine()
    path = Path(options.json) if options.json else None
    rows = json.loads(path.read_text())["runs"] if path is not None and path.exists() else []
    asked = options.family, options.overrides
    rows = [row for row in rows if (row.get("family", "point"), row["overrides"]) == asked]
    done = {(row["method"], row["order"], row["seed"]) for row in rows}
    for order in options.orders:
        for seed in range(options.seeds):
            for method in options.methods:
                if (method, order, seed) in done:
                    continue
                rows.append(train(options.family, method, order, seed, options.overrides))
                print(f"{order} {seed} {method} {rows[-1]['seconds']} s", flush=True)
                if path is not None:
                    kept = {"machine": facts, "runs": rows}
                    path.write_text(json.dumps(kept, separators=(",", ":")) + "\n")
    for order in options.orders:
        compare(rows, options.family, order)
    return 0


if __name__ == "__main__":
    sys.exit(main())
