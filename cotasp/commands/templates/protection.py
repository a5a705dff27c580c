"""A protection: weights that finished tasks use are pulled back to where those ended."""

from dataclasses import dataclass

from cotasp.methods import squared_distance
from cotasp.modules import used_weights


@dataclass(frozen=True)
class Example:
    """weight * sum_i n_i (theta_i - theta*_i)^2; n_i finished tasks use weight i.

    Args:
        weight: strength of the pull, at least 0.
    """

    weight: float = 1.0

    def penalty(self, now):
        if not now.state or not self.weight:
            return None
        return self.weight * squared_distance(now.weights, now.state["anchor"], now.state["tasks"])

    def remember(self, ending):
        used = used_weights(ending.policy, ending.share)
        before = ending.state.get("tasks", {})
        tasks = {name: mine.float() + before.get(name, 0.0) for name, mine in used.items()}
        return {"tasks": tasks, "anchor": ending.weights()}
