"""What a step of the loop costs beyond the simulator: policy, collection, buffer.

    python benchmarks/loop.py [--steps 2000] [--json FILE]

For each Meta-World task, collects with the quickstart's sub-network into the replay buffer without
updating, then replays the same actions on the bare simulator, in turn, and prints both times.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")

import torch
from _machine import machine

from cotasp import loads
from cotasp.continual.collection import Collection
from cotasp.continual.loop import make_learner
from cotasp.tasks.metaworld import MetaWorldSimulator

HORIZON = 200
RECIPE = """
stream: {{name: metaworld, tasks: [{task}], horizon: {horizon}}}
actor: {{std: exp, log_std_range: [-5, 2], squash_mean: false}}
agent: {{updates_per_step: 0, warmup_steps: 0}}
"""


def collect(task: str, steps: int) -> tuple[float, torch.Tensor]:
    """Seconds per step of collecting into the buffer, and the actions taken [steps, 4]."""
    torch.manual_seed(0)
    recipe = loads(RECIPE.format(task=task, horizon=HORIZON))
    tasks = recipe.stream.make_tasks()
    learner = make_learner(recipe, tasks)
    learner.start_task(0)
    collection = Collection(tasks[0].make_env(seed=1), learner.behaviour(), task)
    actions, started = [], time.perf_counter()
    while collection.steps < steps:
        data = collection.collect(recipe.frames_per_batch)
        learner.learn(data)
        actions.append(data["action"])
    seconds = time.perf_counter() - started
    collection.close()
    return seconds / steps, torch.cat(actions)


def replay(task: str, actions: torch.Tensor) -> float:
    """Seconds per step of the bare simulator under the same actions and resets."""
    simulator = MetaWorldSimulator(task, HORIZON, "v2")
    simulator.seed(1)
    simulator.reset()
    rows = actions.numpy()
    started = time.perf_counter()
    for i, action in enumerate(rows, start=1):
        simulator.step(action)
        if i % HORIZON == 0:
            simulator.reset()
    seconds = time.perf_counter() - started
    simulator.close()
    return seconds / len(rows)


def main() -> None:
    """Prints and optionally writes the table."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--steps", type=int, default=2000, help="per task and repetition")
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument(
        "--tasks", nargs="+", default=["faucet-close-v3", "hammer-v3", "push-v3"]
    )
    arguments.add_argument("--json", metavar="FILE")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    facts = machine()
    print(f"{'task':<16} {'simulator ms':>12} {'loop ms':>8} {'beyond ms':>9}")
    rows = []
    for task in options.tasks:
        pairs = []
        for _ in range(options.repeat):
            whole, actions = collect(task, options.steps)
            pairs.append((whole * 1e3, replay(task, actions) * 1e3))
        whole, bare = (median(side) for side in zip(*pairs))
        beyond = median(w - b for w, b in pairs)
        print(f"{task:<16} {bare:12.3f} {whole:8.3f} {beyond:9.3f}", flush=True)
        rows.append({"task": task, "simulator_ms": bare, "loop_ms": whole, "beyond_ms": beyond})
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": facts, "rows": rows}, file, indent=2)


if __name__ == "__main__":
    main()
