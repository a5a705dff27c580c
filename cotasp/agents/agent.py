"""What the loop knows of learning: an agent makes a learner, a learner learns task after task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from cotasp.methods.method import Method
from cotasp.methods.problem import Problem

if TYPE_CHECKING:
    from tensordict import TensorDictBase
    from tensordict.nn import TensorDictModuleBase

    from cotasp.modules.policy import MetaPolicy


@runtime_checkable
class Learner(Protocol):
    """Learns the tasks of a stream one after the other."""

    def start_task(self, task: int) -> dict[str, float]:
        """Prepares for task number `task`; returns facts worth logging."""
        ...

    def behaviour(self) -> TensorDictModuleBase:
        """The module that collects data, `observation` and `is_init` (whether an episode begins, as
        TorchRL's `InitTracker` says it) to `action`; valid for the whole run, with the weights that
        the last `learn` left.  It acts on the CPU, where environments are.  To act in another
        process it must be picklable, and its `state_dict()` hold what it remembers from step to
        step.
        """
        ...

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Takes newly collected transitions [frames] and updates; returns scalars to log.

        `is_init` tells where an episode begins; without it one begins after each `done`.

        Raises:
            RunError: a loss or a parameter is not finite.
        """
        ...

    def end_task(self) -> dict[str, float]:
        """Finishes the task in training; returns facts worth logging."""
        ...

    def policy(self, task: int) -> TensorDictModuleBase:
        """The policy for a task, `observation` to `action`, deterministic or sampled according to
        TorchRL's exploration type.  A finished task gets its own, the one in training what it
        would keep if it ended now, a later one what it would begin with now.  It acts on the CPU.
        """
        ...

    def sub_network(self, task: int) -> MetaPolicy:
        """The network of `policy(task)`, cut out of the meta-policy: a copy that needs no mask."""
        ...

    def summary(self) -> dict[str, Any]:
        """JSON-able facts of the whole run: capacity, overlaps, text similarities."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything there is, in a task or between two: a learner that loads it goes on as this
        one would, bit for bit, given the same data and torch's random state.  Nested mappings of
        tensors, numbers, strings, None and `cotasp.storage.rows.Rows`; to be saved or loaded
        before this learner goes on.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned, of a stream with the same tasks up to the latest
        that has begun; the state is not kept.

        Raises:
            RunError: the state does not fit this learner.
        """
        ...


@runtime_checkable
class Stackable(Protocol):
    """A learner whose updates can be computed together with those of others."""

    def stack(self, updater: Callable[..., Any]) -> None:
        """Lets an updater make its updates, see `cotasp.agents.updates`.

        Raises:
            RecipeError: a component cannot; it is named.
        """
        ...


@runtime_checkable
class Consolidates(Protocol):
    """A learner that works on at a task's end, by pieces, between which a run can be saved."""

    def consolidate(self, seconds: float) -> tuple[int, int]:
        """Works on for about so many seconds, without the environment; the first call begins.

        Its state is part of `state_dict`, and how it is cut into pieces changes nothing.

        Returns:
            updates made, and how many there are to make; `end_task` makes what is left.
        """
        ...


@runtime_checkable
class WholeNetwork(Protocol):
    """An agent with one network, copied for every finished task: no masks, no protection."""

    @property
    def whole_network(self) -> bool:
        """True."""
        ...


@runtime_checkable
class Parallel(Protocol):
    """An agent whose learner takes transitions [num_envs, T] of environments side by side."""

    @property
    def num_envs(self) -> int:
        """Environments, at least 1."""
        ...


@runtime_checkable
class Continues(Protocol):
    """An agent that may go on, changed, where another run had finished some tasks.

    `bound` names its fields that must be as they were there; without this protocol, all must.
    """

    bound: ClassVar[tuple[str, ...]]

    def check_continues(self, source: Any) -> None:
        """Raises RecipeError where it cannot go on from what `source`, an agent of its kind with
        equal bound fields, has left.
        """
        ...


@runtime_checkable
class Agent(Protocol):
    """Hyper-parameters of a learning algorithm; makes its learner."""

    def learner(self, problem: Problem, method: Method) -> Learner:
        """A learner at the beginning of the stream."""
        ...
