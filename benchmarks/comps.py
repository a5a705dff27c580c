"""CoMPS against PPO from scratch, fine-tuned and from a clone: returns while tasks are learned.

    python benchmarks/comps.py --seeds 10 --orders random arc sweep --json results/comps.json
    python benchmarks/comps.py --seeds 5 --json results/comps.json agent.ppo.learning_rate=3e-3
    python benchmarks/comps.py --family cheetah --seeds 5 --orders random sweep --json FILE
    python benchmarks/comps.py --family ant --seeds 3 --json FILE

`point`: eight goals of the toy on a circle, 150 episodes a task in batches of ten, by
`recipes/comps_point*.yaml`.  `cheetah`: ten velocities of HalfCheetah, 300 episodes a task in
batches of ten, by `recipes/comps_cheetah*.yaml`.  `ant`: ten goals of Ant, 30 batches of 2,000
steps a task, by `recipes/comps_ant*.yaml`; a batch counts as ten episodes, though it holds more
where Ant falls.  A seed gives all methods the same tasks and the same first network; intervals are
bootstraps over seeds (95 %, 4,000 draws), of differences over those that both have, of means over
the tasks from the fifth on.

Overrides are those of the recipe of CoMPS: what they say of `agent.ppo` is said to the agent of
the recipes without meta-learning, and what they say of `agent.meta` is not.  Runs that are on file
are not made again; tables are of all that are.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch

from benchmarks._machine import commit, machine
from cotasp.continual.loop import run
from cotasp.recipe import load
from cotasp.sweep.trial import die_with_parent

RECIPES = Path(__file__).parents[1] / "recipes"
METHODS = {
    "scratch": "_scratch",
    "finetuned": "_finetuned",
    "cloning": "_cloning",
    "comps": "",
    "gmps": "_gmps",
}
LABELS = {
    "scratch": "scratch",
    "finetuned": "fine-tuned",
    "cloning": "cloning",
    "comps": "**CoMPS**",
}
USUAL = [name for name in METHODS if name != "gmps"]  # which revisits: what no stream gives
WHICH = ("family", "method", "order", "seed", "overrides")  # tell runs apart
META_LEARN = ("cloning", "comps", "gmps")
THRESHOLDS = {"point": 14.0, "cheetah": -100.0, "ant": 400.0}  # return of a batch, by family
ORDERS = {
    "random": [],
    "arc": ["stream.arc=90"],
    "sweep": ["stream.order=sweep"],
}
FROM_TASK = 4  # the fifth
BATCH = 10  # episodes
DRAWS = 4_000


def overrides_for(method: str, overrides: list[str]) -> list[str]:
    """Overrides of CoMPS' recipe as those of a method's, by dotted keys."""
    if method in META_LEARN:
        return overrides
    kept = [each for each in overrides if not each.startswith("agent.meta.")]
    return [each.replace("agent.ppo.", "agent.") for each in kept]


def train(family: str, method: str, order: str, seed: int, overrides: list[str]) -> dict:
    """Mean return of the episodes of every batch of every task, [T][batches], and seconds."""
    torch.set_num_threads(1)
    fixed = [f"seed={seed}", f"stream.seed={seed}", "evaluation.episodes=1", *ORDERS[order]]
    recipe = load(RECIPES / f"comps_{family}{METHODS[method]}.yaml", [*fixed, *overrides])
    began, used, at = time.time(), time.process_time(), commit()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        summary = run(recipe, Path(folder) / "run", progress=False)
    return {
        "family": family,
        "method": method,
        "order": order,
        "seed": seed,
        "overrides": overrides,
        "commit": at,
        "episode_return": summary["training"]["episode_return"],
        "seconds": round(time.time() - began, 1),
        "processor_seconds": round(time.process_time() - used, 1),
    }


def figures(returns: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    """Of [seeds, T, batches]: the figures of the table, [seeds] each."""
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


def interval(of: Callable[[np.ndarray], float], seeds: int, digits: int = 1) -> str:
    """A figure of the seeds, and its 95 % bootstrap interval over them."""
    draws = np.random.default_rng(0).integers(seeds, size=(DRAWS, seeds))
    value = of(np.arange(seeds))
    low, high = np.percentile([of(draw) for draw in draws], [2.5, 97.5])
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def stacked(by_seed: dict[int, list], seeds: list[int]) -> np.ndarray:
    """Returns of some seeds, [seeds, T, batches]."""
    return np.array([by_seed[seed] for seed in seeds], dtype=float)


def compare(rows: list[dict], family: str, order: str, overrides: list[str]) -> None:
    """Prints an order's tables; CoMPS with these overrides is compared with all else."""
    found: dict[str, dict[int, list]] = {}
    for row in rows:
        if (row["family"], row["order"]) == (family, order):
            label = " ".join([row["method"], *row["overrides"]])
            found.setdefault(label, {})[row["seed"]] = row["episode_return"]
    if not found:
        return
    print(f"\n{order}: mean return of the phase by task")
    for label, by_seed in found.items():
        per_task = stacked(by_seed, sorted(by_seed)).mean((0, 2))
        print(f"  {label:10} " + " ".join(f"{value:.1f}" for value in per_task))
    print(f"{order}: tasks {FROM_TASK + 1} to {len(per_task)}, mean [95 % over seeds]")
    threshold = THRESHOLDS[family]
    for label, by_seed in found.items():
        of = figures(stacked(by_seed, sorted(by_seed)), threshold)
        cells = [f"{k} {interval(lambda d, v=v: v[d].mean(), len(v))}" for k, v in of.items()]
        print(f"  {label:10} ({len(by_seed)} seeds) " + "; ".join(cells))
    ours = found.pop(" ".join(["comps", *overrides]), {})
    if ours:
        print(f"{order}: CoMPS minus each; episodes: each divided by CoMPS")
    for label, by_seed in found.items():
        seeds = sorted(ours.keys() & by_seed.keys())
        if seeds:
            a, b = (figures(stacked(which, seeds), threshold) for which in (by_seed, ours))
            cells = [f"{name} {difference(name, a[name], b[name])}" for name in a]
            print(f"  - {label:10} ({len(seeds)} seeds) " + "; ".join(cells))


def markdown(rows: list[dict], family: str, order: str) -> None:
    """Prints an order's table as `docs/comps.md` has it, of the seeds that every method has."""
    found: dict[str, dict[int, list]] = {}
    for row in rows:
        if (row["family"], row["order"], row["overrides"]) == (family, order, []):
            found.setdefault(row["method"], {})[row["seed"]] = row["episode_return"]
    seeds = sorted(set.intersection(*map(set, found.values())))
    of = {name: stacked(found[name], seeds) for name in USUAL if name in found}
    values = {name: figures(returns, THRESHOLDS[family]) for name, returns in of.items()}
    print(f"\n{order}, seeds {seeds}\n")
    print("| | " + " | ".join(values["comps"]) + " |\n" + "|---" * 6 + "|")
    for name, each in values.items():
        cells = [interval(lambda d, v=v: v[d].mean(), len(seeds), 0) for v in each.values()]
        print(f"| {LABELS[name]} | " + " | ".join(cells) + " |")
    for name in [name for name in values if name != "comps"]:
        cells = [difference(k, v, values["comps"][k]) for k, v in values[name].items()]
        cells[-1] = f"ratio {cells[-1]}"
        print(f"| CoMPS - {LABELS[name]} | " + " | ".join(cells) + " |")
    means = [
        f"{LABELS[name].strip('*')}: " + " ".join(f"{x:.0f}" for x in returns.mean((0, 2)))
        for name, returns in reversed(of.items())
    ]
    print("\nMean return of the phase by number of the task, " + "; ".join(means) + ".")


def difference(name: str, theirs: np.ndarray, ours: np.ndarray) -> str:
    """Ours minus theirs, [seeds] each; of episodes theirs divided by ours."""
    if name.startswith("episodes"):
        return interval(lambda d: theirs[d].mean() / ours[d].mean(), len(ours), 2)
    return interval(lambda d: (ours - theirs)[d].mean(), len(ours))


def main() -> int:
    """Trains what is missing, prints the tables."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--family", choices=THRESHOLDS, default="point")
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--orders", nargs="+", choices=ORDERS, default=["random"])
    arguments.add_argument("--methods", nargs="+", choices=METHODS, default=USUAL)
    arguments.add_argument("--workers", type=int, default=2, help="runs at a time; default 2")
    arguments.add_argument("--json", metavar="FILE", help="where runs are kept, and read from")
    arguments.add_argument("--markdown", action="store_true", help="tables as in docs/comps.md")
    arguments.add_argument("overrides", nargs="*", metavar="key=value", help="of CoMPS' recipe")
    options = arguments.parse_intermixed_args()
    for override in options.overrides:
        if re.match(r"agent(\.ppo|\.meta)?=", override):
            arguments.error(f"{override}: expected a key of agent.ppo or agent.meta by itself")
    facts = machine()
    path = Path(options.json) if options.json else None
    rows = json.loads(path.read_text())["runs"] if path is not None and path.exists() else []
    due = [
        (options.family, method, order, seed, overrides_for(method, options.overrides))
        for order in options.orders
        for seed in range(options.seeds)
        for method in options.methods
    ]
    done, failed = [tuple(row[key] for key in WHICH) for row in rows], 0
    spawn = multiprocessing.get_context("spawn")
    # a worker that outlived this script would go on with its run for nobody
    ends = {"initializer": die_with_parent, "initargs": (os.getpid(),)}
    with ProcessPoolExecutor(options.workers, spawn, **ends) as pool:
        under_way = [pool.submit(train, *each) for each in due if each not in done]
        for ended in as_completed(under_way):
            if (error := ended.exception()) is not None:
                failed += 1
                print(f"failed: {error!r}", flush=True)
                continue
            row = ended.result()
            rows.append(row)
            print(*(row[key] for key in (*WHICH[1:], "seconds")), "s", flush=True)
            if path is not None:
                kept = {"machine": facts, "runs": sorted(rows, key=lambda row: row["order"])}
                path.write_text(json.dumps(kept, separators=(",", ":")) + "\n")
    for order in options.orders:
        if options.markdown:
            markdown(rows, options.family, order)
        else:
            compare(rows, options.family, order, options.overrides)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
