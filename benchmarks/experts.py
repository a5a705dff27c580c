"""Do Meta-World's scripted experts end with success?  What can be learned at most, task by task.

    python benchmarks/experts.py [--tasks A,B] [--episodes 20] [--repeat 1]    (one minute)

The experts that come with Meta-World act for 200 steps in its training tasks, as many of them as
there are episodes, without noise.  `last` is the share of episodes whose last step is a success,
which is how policies are judged here, `any` the share with a success at any step.
"""

from __future__ import annotations

import argparse

import metaworld
from _machine import machine
from metaworld.policies import ENV_POLICY_MAP

from cotasp.tasks.texts import CW10

HORIZON = 200


def successes(name: str, episodes: int, repeat: int) -> tuple[float, float]:
    """Shares of episodes with success at the last step, and at any."""
    benchmark = metaworld.MT1(name, seed=0)
    env, expert = benchmark.train_classes[name](), ENV_POLICY_MAP[name]()
    last = ever = 0.0
    for task in benchmark.train_tasks[:episodes]:
        env.set_task(task)
        observation, _ = env.reset()
        happened = [0.0]
        for step in range(HORIZON):
            if step % repeat == 0:
                action = expert.get_action(observation).clip(-1, 1)
            observation, _, _, _, info = env.step(action)
            happened.append(float(info["success"]))
        last, ever = last + happened[-1], ever + max(happened)
    return last / episodes, ever / episodes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", default=",".join(CW10), help="default: Continual World's ten")
    parser.add_argument("--episodes", type=int, default=20, help="at most 50")
    parser.add_argument("--repeat", type=int, default=1, help="steps that an action is held for")
    options = parser.parse_args()
    machine()
    print(f"\n{'task':24s} last   any")
    for name in options.tasks.split(","):
        last, ever = successes(name, options.episodes, options.repeat)
        print(f"{name:24s} {last:.2f}  {ever:.2f}", flush=True)


if __name__ == "__main__":
    main()
