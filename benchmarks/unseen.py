"""What four goals of the toy have taught about five that were not seen, against fresh networks.

    python benchmarks/unseen.py [--seeds N] [--steps N] [--json FILE]      (two minutes a seed)

Each seed learns recipes/unseen.yaml and then adapts to each unseen goal, as
`cotasp adapt RUN --env GOAL --baseline` does.  Means over goals; intervals are 95 % bootstrap ones
over whole seeds.  Steps to the threshold count as the whole budget where it was not reached.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import commit, machine

from cotasp.continual.adapting import adapt
from cotasp.continual.loop import run
from cotasp.recipe import load
from cotasp.report.statistics import Estimate, estimate, mean
from cotasp.tasks.texts import GOALS

RECIPE = Path(__file__).parents[1] / "recipes" / "unseen.yaml"


def one_seed(seed: int, steps: int, folder: Path) -> list[dict[str, Any]]:
    """The results of `adapt` for each goal that the recipe's stream does not have."""
    recipe = load(RECIPE, [f"seed={seed}"])
    run(recipe, folder / "run", progress=False)
    unseen = [goal for goal in GOALS if goal not in recipe.stream.goals]  # type: ignore[attr-defined]
    return [
        adapt(folder / "run", goal, folder / goal, steps=steps, baseline=True, progress=False)
        for goal in unseen
    ]


def figures(results: list[list[dict[str, Any]]], steps: int) -> dict[str, Estimate]:
    """Each figure's mean over goals and seeds, with its interval."""

    def over_seeds(value: Any) -> Estimate:
        return estimate(np.array([[value(r) for r in row] for row in results], float), mean)

    found = {
        "zero-shot success, default recall": over_seeds(lambda r: r["zero_shot"]),
        "zero-shot success, own prompt": over_seeds(lambda r: r["own_prompt"]),
    }
    for name in ("adapted", "fresh"):
        found[f"success at the end, {name}"] = over_seeds(lambda r, n=name: r[n]["final"])
        found[f"area under the curve, {name}"] = over_seeds(
            lambda r, n=name: r[n]["area_under_curve"]
        )
        found[f"steps to 0.9, {name}"] = over_seeds(
            lambda r, n=name: (
                steps if r[n]["steps_to_threshold"] is None else r[n]["steps_to_threshold"]
            )
        )
    found["area under the curve, adapted - fresh"] = over_seeds(
        lambda r: r["adapted"]["area_under_curve"] - r["fresh"]["area_under_curve"]
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts, results = machine(), []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            results.append(one_seed(seed, options.steps, Path(folder)))
        found = figures(results, options.steps)
        print(f"after {seed + 1} seeds", flush=True)
        for name, value in found.items():
            interval = "" if value.low is None else f"  [{value.low:.2f}, {value.high:.2f}]"
            print(f"  {name:<40} {value.value:8.2f}{interval}", flush=True)
        if options.json:
            for row in results:
                for each in row:
                    each.pop("run", None)
            report = {
                "machine": facts,
                "commit": commit(),
                "figures": {name: value._asdict() for name, value in found.items()},
                "results": results,
            }
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
