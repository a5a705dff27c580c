"""What an update trains, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cotasp.modules.policy import Policy

Objective = Callable[[Policy, Tensor, Tensor], Tensor]  # policy, observations, noise -> scalar


class LossRows(NamedTuple):
    """The rows that a loss is the mean over, for what asks for parts of it.

    Args:
        observation: [B, m].
        loss: places [n] of some rows to the loss of these alone, a scalar, by what now trains.
    """

    observation: Tensor
    loss: Callable[[Tensor], Tensor]


def gradients_by_task(
    rows: LossRows, marks: Sequence[Sequence[float]], weights: Mapping[str, Tensor]
) -> list[Mapping[str, Tensor]]:
    """Gradients of a loss's parts, one for each task that has rows; they sum to the loss's.

    Args:
        rows: that the loss is the mean over.
        marks: what the tasks' observations end with, of equal lengths; equal ones count once.
        weights: by name.
    """
    ends = rows.observation[:, -len(marks[0]) :]
    gradients: list[Mapping[str, Tensor]] = []
    for mark in dict.fromkeys(map(tuple, marks)):
        places = (ends == ends.new_tensor(mark)).all(1).nonzero().squeeze(1)
        if len(places):
            loss = rows.loss(places) * (len(places) / len(ends))
            slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
            gradients.append(dict(zip(weights, slopes)))
    return gradients


class TrainedActor(Protocol):
    """The actor that an update trains: one, or many stacked."""

    teacher: Policy | None  # whom a task that has ended is to act like; None: nobody

    def policy(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """loc, scale [*, B, action_dim] of the sub-network in training."""

    def policy_in_training(self) -> Policy:
        """The same, attached to what now trains: weights or code."""

    def step(self, loss: Tensor, objective: Objective | None, rows: LossRows | None) -> None:
        """One step of what trains down a loss, the sum of all learners'.

        Args:
            loss: scalar, of `policy_in_training`.
            objective: what it is of any policy, observations and noise, for protections that
                look at finished tasks' rows (`agem`); None: there is no such function, and they
                leave the gradient as it is.
            rows: that it is of, for protections that look at each task's part of it (`pcgrad`);
                None: they leave the gradient as it is.
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
