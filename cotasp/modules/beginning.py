"""What a mask policy may say as a task begins, or the first one: codes, and numbers for weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from cotasp.modules.policy import MetaPolicy


@dataclass(frozen=True)
class Beginning:
    """A task that begins for the first time.

    Args:
        prompt: what its text gives, [sum(hidden)].
        embedding: of its text, [m].
        hidden: widths of the hidden layers.
        number: among the tasks of the stream that have policies of their own, from 0.
        tasks: how many of these there are.
        generator: random numbers of this task, on the CPU.
    """

    prompt: Tensor
    embedding: Tensor
    hidden: Sequence[int]
    number: int
    tasks: int
    generator: Generator


@runtime_checkable
class FirstCode(Protocol):
    """A mask policy whose tasks begin with another code than their prompt."""

    def first_code(self, task: Beginning) -> Tensor:
        """What the task's code begins as, [sum(hidden)]."""
        ...


@dataclass(frozen=True)
class Past:
    """A task that begins for the first time, and the finished ones, in the order of the stream.

    Args:
        embedding: of its text, [m].
        embeddings: of the finished tasks' texts, [n, m].
        weights: of each finished task's network by parameter's name: those that are not a head of
            the task's own.
        seed: the same for all tasks of a run.
    """

    embedding: Tensor
    embeddings: Tensor
    weights: Sequence[Mapping[str, Tensor]]
    seed: int


@runtime_checkable
class WarmStarts(Protocol):
    """A private mask policy whose tasks begin with weights that it makes of finished networks."""

    def first_weights(self, past: Past) -> dict[str, Tensor]:
        """Weights by parameter's name, of its shape; missing: as the task draws them."""
        ...


@runtime_checkable
class Scales(Protocol):
    """A mask policy whose tasks multiply some weights by a number, in training and ever after."""

    def scale(self, fixed: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], float]:
        """Which weights a task reads as they are, and what multiplies the others.

        Args:
            fixed: true where a weight may not move in this task, by parameter's name; empty: all
                may.

        Returns:
            bool tensors by parameter's name (missing: all as they are), and the number that
            multiplies where they are false.
        """
        ...


@runtime_checkable
class Wires(Protocol):
    """A mask policy whose network lacks some weights: they are 0 from the first task on."""

    def wires(self, policy: MetaPolicy, tasks: int) -> dict[str, Tensor]:
        """What weights are multiplied by before the first task, by parameter's name, of its shape.

        Args:
            policy: as it was drawn.
            tasks: of the stream that have policies of their own.

        Returns:
            numbers (missing: 1).  Where one is 0 there is no weight: it never moves.
        """
        ...


@runtime_checkable
class Workspace(Protocol):
    """A mask policy whose tasks train in one part of the network, which each begins anew."""

    def workspace(self, policy: MetaPolicy) -> dict[str, Tensor]:
        """The weights that a task draws anew, but for the first one, and trains until its end,
        beside a head of its own; bool by parameter's name, missing: none of it.
        """
        ...
