"""Learns two tasks of a Gymnasium environment of one's own, one after the other.

The environment is in `slides.py`, which `slides:Right-v0` imports; sentences tell the tasks apart.

python examples/use_your_own_environment.py runs/slides
"""

from __future__ import annotations

import sys

import cotasp

RECIPE = """
stream:
  name: gymnasium
  tasks:
    - {env: "slides:Right-v0", text: Slide to the right and stop there.}
    - {env: "slides:Left-v0", text: Slide to the left and stop there.}
steps_per_task: 4000
actor: {hidden: [256, 256]}
dictionary: {lmbda: 0.05}
agent: {critic: {hidden: [64, 64]}, learning_rate: 1e-3}
evaluation: {average: 1}
"""


def main(out: str, *overrides: str) -> None:
    summary = cotasp.run(cotasp.loads(RECIPE, overrides), out, progress=False)
    print(f"P {summary['performance']:.2f}, F {summary['forgetting']:.2f}")

    run = cotasp.open_run(out)
    facts = run.prompt("slide to the LEFT and stop there")
    print(f"{facts.text!r} is {facts.verdict}: {facts.task or facts.nearest[0].name}")
    low, high = run.evaluate(task="Left-v0", episodes=20).interval()
    print(f"success on Left-v0: {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
