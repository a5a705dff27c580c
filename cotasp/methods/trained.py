"""What an update trains, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from cotasp.methods.subpolicy import Policy

Objective = Callable[[Policy, Tensor, Tensor], Tensor]  # policy, observations, noise -> scalar


class TrainedActor(Protocol):
    """The actor that an update trains: one, or many stacked."""

    def policy(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """loc, scale [*, B, action_dim] of the sub-network in training."""

    def policy_in_training(self) -> Policy:
        """The same, attached to what now trains: weights or code."""

    def step(self, loss: Tensor, objective: Objective | None = None) -> None:
        """One step of what trains down a loss, the sum of all learners'.

        Args:
            loss: scalar, of `policy_in_training`.
            objective: what it is of any policy, observations and noise, for protections that ask.
        """


@dataclass(frozen=True)
class ActorRates:
    """How an actor is trained.

    Args:
        learning_rate, code_learning_rate: Adam's.
        compact: whether only active units are computed.
        multiple: of which widths are then; see `SubPolicy`.
        average: decay of the weights' running average; 0: there is none.
        clip: largest norm of the weights' gradient; None: any.
    """

    learning_rate: float
    code_learning_rate: float
    compact: bool = True
    multiple: int = 1
    average: float = 0.0
    clip: float | None = None
