"""Updates per second of every method, beside fine-tuning.

    python benchmarks/methods.py [--rounds N] [--json FILE] [NAME ...]

The recipes of `recipes/methods/`, with the sizes that they give: Meta-World's observations of 39
numbers and actions of 4, ten texts; where all are learned together, observations end with ten more
numbers.  Two tasks have ended and the third is in training, on random transitions; an update
samples a batch and steps critics, actor, temperature and targets.  Times are CPU times of one
thread, each the best of rounds in which the methods take turns, so that other load on the machine
counts little.
"""

from __future__ import annotations

# ruff: noqa: E402 - the thread counts must be set before the libraries load
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from _machine import machine
from tensordict import TensorDict

from cotasp.agents.off_policy import OffPolicyLearner
from cotasp.methods.problem import Problem
from cotasp.recipe import load

RECIPES = Path(__file__).parents[1] / "recipes" / "methods"
OBS, ACT, ENDED = 39, 4, 2
SETTINGS = ["agent.updates_per_transition=0", "agent.warmup_steps=0", "steps_per_task=40000"]


def in_training(path: Path) -> OffPolicyLearner:
    """A learner of a recipe in its third task, its buffer filled."""
    samples = ["protection.samples=256"] * hasattr(load(path).protection, "samples")
    recipe = load(path, [*SETTINGS, *samples])
    torch.manual_seed(0)
    texts = [task.text for task in recipe.stream.make_tasks()]
    together = recipe.stream.together
    marks = torch.eye(together)[:, : together * (together > 1)]  # observations end with one
    sizes = OBS + marks.shape[1], ACT
    problem = Problem(
        texts, *sizes, steps_per_task=40_000, marks=marks.tolist() if together > 1 else ()
    )
    method = replace(recipe.method, encoder=recipe.encoder.prepare(texts))
    learner = recipe.agent.learner(problem, method)
    for task in range(ENDED + 1):
        learner.start_task(task)
        learner.learn(transitions(10_000, marks, seed=task))
        learner.update(20)
        if task < ENDED:
            learner.end_task()
    return learner


def transitions(n: int, marks: torch.Tensor, seed: int) -> TensorDict:
    """Random transitions as a collector gives them, of tasks [T] with marks [T, k] in turn."""
    mark = marks[torch.arange(n) // 50 % len(marks)]
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    done = torch.rand(n, 1, generator=generator) < 0.02
    following = {"observation": torch.cat([normal(n, OBS), mark], 1), "reward": normal(n, 1)}
    following |= {"terminated": torch.zeros_like(done), "done": done}
    action = normal(n, ACT).tanh()
    return TensorDict(
        {
            "observation": torch.cat([normal(n, OBS), mark], 1),
            "action": action,
            "next": TensorDict(following, [n]),
        },
        [n],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=50, help="of a round and method")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    facts = machine()
    names = arguments.names or sorted(path.stem for path in RECIPES.glob("*.yaml"))
    names = list(dict.fromkeys(["finetune", *names]))
    learners = {name: in_training(RECIPES / f"{name}.yaml") for name in names}
    best = dict.fromkeys(names, float("inf"))
    for _ in range(arguments.rounds):
        for name, learner in learners.items():
            begun = time.process_time()
            learner.update(arguments.updates)
            taken = (time.process_time() - begun) / arguments.updates
            best[name] = min(best[name], taken)
    print("\n| recipe | ms per update | of fine-tuning's |\n|---|---:|---:|")
    for name, taken in sorted(best.items(), key=lambda pair: pair[1]):
        print(f"| `{name}` | {1e3 * taken:.2f} | {taken / best['finetune']:.2f} |")
    if arguments.json:
        figures = {"machine": facts, "seconds_per_update": best}
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
