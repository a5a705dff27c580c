"""Asks a finished run for curves, a table, and the policy of a sentence.

cotasp run recipes/smoke.yaml
python examples/read_a_run.py runs/smoke-seed0 "Park the car on the right."
"""

from __future__ import annotations

import sys

import cotasp
from cotasp.film import captioned, save


def main(directory: str, sentence: str) -> None:
    run = cotasp.open_run(directory)
    print(run.table())
    for task, points in run.curve("success").items():
        print(task, points[-1])

    facts = run.prompt(sentence)
    print(f"{sentence!r} is {facts.verdict}, nearest to {facts.nearest[0].name}")
    task = facts.task or facts.nearest[0].name
    low, high = run.evaluate(sentence, task=task, episodes=20).interval()
    print(f"success on {task}: {low:.2f} to {high:.2f}")
    policy = run.policy(task=task)  # observation to action, a TensorDictModule
    print(policy.in_keys, policy.out_keys)

    (episode,) = run.play(sentence, task=task)
    print(save([captioned(episode, 240)], "episode.gif"))


if __name__ == "__main__":
    main(*sys.argv[1:])
