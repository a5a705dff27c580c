"""Would EnvPool's Meta-World be worth having?  Milliseconds of a step beside the reference's.

    pip install envpool    # an environment of its own: 750 MB, and other versions than ours
    python benchmarks/simulators.py [--tasks A,B] [--steps 300]    (half a minute)

One environment on one thread, random actions, processor time, the better of two rounds in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import envpool
import numpy as np
from _machine import machine

from cotasp.tasks.metaworld import MetaWorldSimulator
from cotasp.tasks.texts import CW10


def native(name: str) -> tuple[Callable[[], object], Callable[[np.ndarray], object]]:
    """Reset and step of EnvPool's task."""
    words = name.removesuffix("-v3").split("-")
    known = f"MetaWorld/{''.join(word.capitalize() for word in words)}-v3"
    pool = envpool.make(known, env_type="gymnasium", num_envs=1, num_threads=1, seed=0)
    return pool.reset, lambda action: pool.step(action[None])


def reference(name: str) -> tuple[Callable[[], object], Callable[[np.ndarray], object]]:
    """Reset and step of Meta-World's, as runs make them."""
    simulator = MetaWorldSimulator(name, horizon=500, reward_version="v2")
    simulator.seed(0)
    return simulator.reset, simulator.step


def milliseconds(step: Callable[[np.ndarray], object], actions: np.ndarray) -> float:
    """Of a step, the mean over these actions."""
    began = time.process_time()
    for action in actions:
        step(action)
    return 1e3 * (time.process_time() - began) / len(actions)


def line(name: str, figures: np.ndarray) -> str:
    """A row of the table."""
    return f"{name:24s} {figures[0]:7.2f}  {figures[1]:7.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", default=",".join(CW10), help="default: Continual World's ten")
    parser.add_argument("--steps", type=int, default=300, help="per task and round, at most 500")
    options = parser.parse_args()
    machine("envpool")
    draws = np.random.default_rng(0)
    actions = draws.uniform(-1, 1, (options.steps, 4)).astype(np.float32)
    print(f"\n{'task':24s} EnvPool  Meta-World, ms")
    means = []
    for name in options.tasks.split(","):
        ways = native(name), reference(name)
        rounds = []
        for _ in range(2):
            for reset, _ in ways:
                reset()
            rounds.append([milliseconds(step, actions) for _, step in ways])
        means.append(np.min(rounds, axis=0))
        print(line(name, means[-1]), flush=True)
    print(line("mean", np.mean(means, axis=0)))


if __name__ == "__main__":
    main()
