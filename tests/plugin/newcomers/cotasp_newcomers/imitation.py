"""Transitions kept, and what finished tasks' policies did in them imitated."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Imitation:
    """Squared distance to what finished policies did, in states that are kept for it.

    Args:
        weight: strength, at least 0.
        states: kept of each finished task.
        batch: of them per task and update.
    """

    asks: ClassVar[tuple[str, ...]] = ("policy",)
    weight: float = 1.0
    states: int = 200
    batch: int = 16

    def penalty(self, now):
        import torch

        if not now.state or not self.weight:
            return None
        total = 0.0
        for task, states in now.state["states"].items():
            places = torch.randint(len(states), (self.batch,), generator=now.generator)
            loc, scale = now.policy(states[places], int(task))
            before = now.state["loc"][task][places], now.state["scale"][task][places]
            total = total + (loc - before[0]).square().mean()
            total = total + (scale.log() - before[1].log()).square().mean()
        return self.weight * total / len(now.state["states"])

    def remember(self, ending):
        states = ending.rows(self.states).observation.clone()
        loc, scale = ending.acts(states)
        new = {"states": states, "loc": loc, "scale": scale}
        before = {part: ending.state.get(part, {}) for part in new}
        return {part: {**before[part], str(ending.task): t} for part, t in new.items()}
