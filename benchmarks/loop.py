"""What a step of the loop costs beyond the simulator: policy, collection, buffer.

    python benchmarks/loop.py [--steps 2000] [--quick] [--json FILE]

first table    for each Meta-World task, collects with the quickstart's sub-network into the replay
               buffer without updating, then replays the same actions on the bare simulator, in
               turn, and prints both times
second table   the loop with one update per step at the paper's sizes (lambda 1e-3): environment,
               policy, buffer, updates and logging, against the same number of bare updates, in
               turn; CPU time, so that other load on the machine counts little
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")

import torch
from _machine import machine

from cotasp import loads
from cotasp.continual.collection import Collection
from cotasp.continual.logs import Logs
from cotasp.continual.setup import make_learner
from cotasp.tasks.metaworld import MetaWorldSimulator

HORIZON = 200
RECIPE = """
stream: {{name: metaworld, tasks: [{task}], horizon: {horizon}}}
frames_per_batch: 50
agent: {{updates_per_transition: 0, warmup_steps: 0}}
"""
WHOLE = """
stream: {{name: metaworld, tasks: [{task}], horizon: {horizon}}}
frames_per_batch: 50
dictionary: {{lmbda: 1e-3}}
agent:
  critic: {{hidden: [256, 256, 256, 256], activation: leaky_relu, norm: first}}
  batch_size: 256
  warmup_steps: 0
  precision: {precision}
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


def whole(task: str, precision: str, rounds: int, steps: int) -> dict[str, object]:
    """Milliseconds per step of the loop with its updates, and per update without the loop."""
    torch.manual_seed(0)
    recipe = loads(WHOLE.format(task=task, horizon=HORIZON, precision=precision))
    tasks = recipe.stream.make_tasks()
    learner = make_learner(recipe, tasks)
    learner.start_task(0)
    collection = Collection(tasks[0].make_env(seed=1), learner.behaviour(), task)
    with TemporaryDirectory() as folder:
        logs = Logs(Path(folder), recipe, len(tasks), progress=False)

        def loop() -> None:
            until = collection.steps + steps
            while collection.steps < until:
                data = collection.collect(recipe.frames_per_batch)
                logs.step(collection.steps, data, learner.learn(data))

        def bare() -> None:
            learner.update(steps)

        seconds = {work: [] for work in (loop, bare)}
        loop()
        for _ in range(rounds):
            for work, taken in seconds.items():
                started = time.process_time()
                work()
                taken.append(time.process_time() - started)
        logs.close()
    collection.close()
    ms = {work.__name__: min(taken) / steps * 1e3 for work, taken in seconds.items()}
    return {"task": task, "precision": precision, **ms, "share": ms["bare"] / ms["loop"]}


def main() -> None:
    """Prints and optionally writes the table."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--steps", type=int, default=2000, help="per task and repetition")
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument(
        "--tasks", nargs="+", default=["faucet-close-v3", "hammer-v3", "push-v3"]
    )
    arguments.add_argument("--quick", action="store_true", help="one task, < 1 minute")
    arguments.add_argument("--json", metavar="FILE")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        options.steps, options.repeat, options.tasks = 500, 1, options.tasks[:1]
    facts = machine()
    print(f"{'task':<16} {'simulator ms':>12} {'loop ms':>8} {'beyond ms':>9}")
    rows = []
    for task in options.tasks:
        pairs = []
        for _ in range(options.repeat):
            seconds, actions = collect(task, options.steps)
            pairs.append((seconds * 1e3, replay(task, actions) * 1e3))
        all_, bare = (median(side) for side in zip(*pairs))
        beyond = median(w - b for w, b in pairs)
        print(f"{task:<16} {bare:12.3f} {all_:8.3f} {beyond:9.3f}", flush=True)
        rows.append({"task": task, "simulator_ms": bare, "loop_ms": all_, "beyond_ms": beyond})
    print(f"\n{'task':<16} {'precision':>9} {'loop ms':>8} {'update ms':>9} {'of its rate':>12}")
    loops = []
    for task in options.tasks:
        for precision in ("float32", "bfloat16"):
            found = whole(task, precision, options.repeat, min(options.steps, 500))
            print(
                f"{task:<16} {precision:>9} {found['loop']:8.2f} {found['bare']:9.2f} "
                f"{found['share']:12.1%}",
                flush=True,
            )
            loops.append(found)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": facts, "rows": rows, "loops": loops}, file, indent=2)


if __name__ == "__main__":
    main()
