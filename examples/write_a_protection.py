"""Writes a protection, checks that it keeps its promises, and learns two tasks with it.

python examples/write_a_protection.py runs/pull
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from torch import Tensor

import cotasp
from cotasp import KINDS
from cotasp.errors import RecipeError
from cotasp.methods.protection import Ending, Now
from cotasp.modules.subnetwork import used_weights
from cotasp.testing import check_protection


@KINDS["protection"].register("absolute_pull")
@dataclass(frozen=True)
class AbsolutePull:
    """Pulls the weights that finished tasks use back by the distance itself, not its square.

    penalty = weight * sum_i used_i |theta_i - theta*_i|, with theta* the weights at the end of the
    last task, and used_i 1 where some finished task uses weight i.

    Args:
        weight: strength of the pull, at least 0.
    """

    weight: float = 0.01

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise RecipeError(f"weight: expected at least 0, got {self.weight}")

    def penalty(self, now: Now) -> Tensor | None:
        if not now.state or not self.weight:
            return None  # the first task is learned as without
        anchor, used = now.state["anchor"], now.state["used"]
        parts = [(used[k] * (w - anchor[k]).abs()).sum() for k, w in now.weights.items()]
        return self.weight * sum(parts[1:], parts[0])

    def remember(self, ending: Ending) -> dict[str, dict[str, Tensor]]:
        anchor = ending.weights()
        used = {
            k: u.to(anchor[k].dtype) for k, u in used_weights(ending.policy, ending.share).items()
        }
        for name, before in ending.state.get("used", {}).items():
            used[name] = used[name].maximum(before)
        return {"anchor": anchor, "used": used}


RECIPE = """
stream: {name: point, goals: [right, left]}
steps_per_task: 400
encoder: onehot
protection: {name: absolute_pull, weight: 0.01}
actor: {hidden: [32, 32]}
agent: {critic: {hidden: [32, 32]}, batch_size: 32}
"""


def main(out: str) -> None:
    check_protection(AbsolutePull())  # raises AssertionError, naming the promise that is broken
    summary = cotasp.run(cotasp.loads(RECIPE), out, progress=False)
    print(f"P {summary['performance']:.2f}, F {summary['forgetting']:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
