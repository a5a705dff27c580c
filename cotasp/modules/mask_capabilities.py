"""Optional protocols of mask policies: what one may do besides making masks, in order of use.

A mask policy has a capability by having its methods and attributes; it inherits from nothing.

- before the first task: `ChecksActor`, `Wires`;
- as a task begins: `FirstCode`, `Private`, `WarmStarts`, `Workspace`, `Scales`;
- while it trains: `Learned`, `Scored`;
- at its end: `Keeps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from cotasp.modules.policy import MetaPolicy
    from cotasp.modules.specs import ActorSpec


@runtime_checkable
class ChecksActor(Protocol):
    """A mask policy, or a protection, that does not fit every network."""

    def check_actor(self, actor: ActorSpec) -> None:
        """Raises RecipeError for a network of a shape that does not fit."""
        ...


@runtime_checkable
class Wires(Protocol):
    """A mask policy whose network lacks some weights: they are 0 from the first task on."""

    def wires(self, policy: MetaPolicy, tasks: int) -> dict[str, Tensor]:
        """Factors that multiply weights before the first task, by parameter's name, of its shape.

        Args:
            policy: as it was drawn.
            tasks: of the stream that have policies of their own.

        Returns:
            numbers (missing: 1).  Where one is 0 there is no weight: it never moves.
        """
        ...


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
        """The code that the task begins with, [sum(hidden)]."""
        ...


@runtime_checkable
class Private(Protocol):
    """A mask policy whose tasks each keep a network of their own: no weight is shared."""

    anew: bool  # whether a task's network begins with newly drawn weights


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
class Workspace(Protocol):
    """A mask policy whose tasks train in one part of the network, which each begins anew."""

    def workspace(self, policy: MetaPolicy) -> dict[str, Tensor]:
        """The weights that a task draws anew, but for the first one, and trains until its end,
        beside a head of its own; bool by parameter's name, missing: none of it.
        """
        ...


@runtime_checkable
class Scales(Protocol):
    """A mask policy whose tasks multiply some weights by a number, in training and ever after."""

    def scale(self, fixed: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], float]:
        """The weights that a task reads as they are, and the number that multiplies the others.

        Args:
            fixed: true where a weight may not move in this task, by parameter's name; empty: all
                may.

        Returns:
            bool tensors by parameter's name (missing: all as they are), and the number that
            multiplies where they are false.
        """
        ...


@runtime_checkable
class Learned(Protocol):
    """A mask policy whose codes train together with the weights, at a cost of their own.

    Codes of other policies train in turns with the weights.
    """

    def cost(self, mask: Tensor, owned: Tensor) -> Tensor:
        """A scalar added to the actor's loss.

        Args:
            mask: [K] in [0, 1], attached to the code.
            owned: bool [K], units of finished tasks.
        """
        ...

    def clamp_(self, code: Tensor) -> None:
        """Brings a code that has stepped back into its bounds, in place."""
        ...


@runtime_checkable
class Scored(Protocol):
    """A mask policy with all units, whose tasks choose weights between them by scores that train.

    Every weight matrix that tasks share is scored; biases and heads of one's own are not.
    """

    @property
    def trains_weights(self) -> bool:
        """Whether shared weights train beside the scores, or stay as they began."""
        ...

    def first_weight(self, weight: Tensor) -> Tensor:
        """A weight matrix [out, in] as it begins, before the first task.

        Args:
            weight: as it was drawn.
        """
        ...

    def first_scores(self, weight: Tensor, kept: Tensor | None, generator: Generator) -> Tensor:
        """Scores [out, in] that a task begins with.

        Args:
            weight: that they are of.
            kept: bool [out, in], what the task chose when it ended before; None: it is new.
            generator: random numbers of this task, on the CPU.
        """
        ...

    def multiplier(self, scores: Tensor) -> Tensor:
        """1 for the weights that are chosen and 0 for the others, [out, in], attached to the
        scores by a derivative of its own (straight-through).
        """
        ...


@runtime_checkable
class Keeps(Protocol):
    """A mask policy that also chooses, when a task ends, which weights between units it keeps.

    These train on by the agent's loss, or learn to act as the task did before: see `imitates`.
    """

    def keep(
        self,
        weights: Mapping[str, Tensor],
        used: Mapping[str, Tensor],
        tasks_left: int,
        updates: int,
    ) -> tuple[dict[str, Tensor], int]:
        """The weights that the task keeps, and how many updates they train on.

        Args:
            weights: of the meta-policy, by name.
            used: true where a finished task uses a weight.
            tasks_left: tasks of the stream that have not ended, this one included.
            updates: that the task has had.

        Returns:
            bool tensors by parameter's name (missing: all kept), and the number of further
            updates that the kept weights get.  What neither this task nor a finished one uses is
            set to 0.
        """
        ...


def shares_everything(mask: object) -> bool:
    """Whether every task acts by the whole network, so that a batch may hold rows of several.

    Such a mask policy has the class attribute `shares_everything = True`.
    """
    return getattr(mask, "shares_everything", False)


def imitates(mask: object) -> bool:
    """Whether the weights that a task keeps learn, on its rows, to act as it did before it ended.

    Such a mask policy, which `Keeps`, has the class attribute `imitates = True`.
    """
    return getattr(mask, "imitates", False)
