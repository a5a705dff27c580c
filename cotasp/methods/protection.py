"""Protections: what keeps old tasks' knowledge while a new task trains.

A protection is a component with one capability or more, each a method:

- `guard`: which weights may move;
- `penalty`: a scalar added to the actor's loss;
- `transform`: the actor's gradients changed, between the gradient and the step;
- `remember`: tensors kept at a task's end, which the learner holds, saves and hands back;
- `begin`: those before the first task.

Penalties and transforms may ask for rows of finished tasks, by the attribute `rehearsal`; see
`cotasp.methods.memory`.

A recipe takes a list of them.  Guards are joined by "and", penalties summed, transforms called in
the list's order; the guard comes last, so that no transform moves what is guarded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from cotasp.errors import PluginError, RecipeError
from cotasp.modules.mask_capabilities import Keeps, Scored
from cotasp.modules.masks import MaskPolicy

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from cotasp.methods.batch import Batch, Rehearsal
    from cotasp.modules.ownership import Ownership
    from cotasp.modules.policy import MetaPolicy
    from cotasp.modules.share import Share

    State = Mapping[str, Mapping[str, Tensor]]  # e.g. {"fisher": {parameter name: tensor}}


@dataclass(frozen=True)
class Now:
    """What a protection sees of an update.

    Args:
        weights: parameters of the (sub-)network in training, by name.  Zeros may pad their rows
            and columns, here and in `state`: units that are not there.
        state: what `remember` returned; tensors with a parameter's name and shape come in the
            shape that it has in `weights`.
        policy: (observations [n, m], number of a finished task, or of each row's, [n]) to loc,
            scale [n, action_dim]: their policies with the weights of now, differentiable by
            `weights`.
        objective: (observations, task) to what the agent minimises there, a scalar, with fresh
            actions drawn by `generator`; None: the agent has none.
        generator: random numbers of this protection alone.
        rehearsal: rows of finished tasks, as many as the protection's `rehearsal` says, drawn by
            `generator`; None: it asks for none, or nothing is kept yet.
        parts: gradients, by weight, of the agent's loss on the batch's rows of each of the tasks
            that are learned together, as they come in it, in proportion to their number: they sum
            to the loss's; None: one task is learned alone.

    A protection that calls `policy` or `parts` names them in its class attribute `asks`; others
    that do get a `PluginError`.
    """

    weights: Mapping[str, Tensor]
    state: State
    policy: Callable[[Tensor, int | Tensor], tuple[Tensor, Tensor]]
    objective: Callable[[Tensor, int | Tensor], Tensor] | None
    generator: Generator
    rehearsal: Rehearsal | None = None
    parts: Callable[[], list[Mapping[str, Tensor]]] | None = None


@dataclass(frozen=True)
class Ending:
    """A task that has just ended.

    Args:
        task: its number.
        policy: the meta-policy, with the weights that the task ended with.
        share: of the meta-policy, that the task ended with.
        rows: a number to as many rows drawn from its memory, by `generator`.
        state: what this protection has remembered so far, empty at first.
        generator: random numbers of this protection alone.
    """

    task: int
    policy: MetaPolicy
    share: Share
    rows: Callable[[int], Batch]
    state: State
    generator: Generator

    def weights(self) -> dict[str, Tensor]:
        """Copies of the meta-policy's weights, by name."""
        return {name: p.detach().clone() for name, p in self.policy.named_parameters()}

    def acts(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """loc, scale [n, action_dim] of the task's policy as it ended, for observations [n, m]."""
        from cotasp.modules.subnetwork import outputs_by

        weights = {name: p.detach() for name, p in self.policy.named_parameters()}
        return outputs_by(self.policy, self.share, weights, observation)


def asks(component: object, what: str) -> bool:
    """Whether a protection or renewal has `what` in its class attribute `asks`, a tuple of names.

    What costs something, or is not to be had everywhere, is asked for: `"policy"` and `"parts"`
    of `Now`, which stacked learners cannot give, and `"start"` of `cotasp.methods.renewal.Network`.
    """
    return what in getattr(component, "asks", ())


def if_asked(component: object, what: str, given: Callable[..., Any]) -> Callable[..., Any]:
    """What is given to a component that asks for it; to others, what raises a PluginError."""
    if asks(component, what):
        return given

    def refuses(*_: Any) -> Any:
        name = type(component).__name__
        raise PluginError(
            f"{name}: now.{what} is there for who asks for it; give {name} the class attribute "
            f'asks = ("{what}",)'
        )

    return refuses


class Protection(Protocol):
    """Keeps finished tasks' policies, wholly or nearly: has at least one capability."""


@runtime_checkable
class Guards(Protocol):
    """Says which weights may change."""

    def guard(self, policy: MetaPolicy, ownership: Ownership) -> dict[str, Tensor] | None:
        """Parameter name to bool tensor, true where the weight may change; None: all may."""


@runtime_checkable
class Penalises(Protocol):
    """Adds to the actor's loss."""

    def penalty(self, now: Now) -> Tensor | None:
        """A scalar; None: nothing."""


@runtime_checkable
class Transforms(Protocol):
    """Changes the actor's gradients."""

    def transform(self, gradients: Mapping[str, Tensor], now: Now) -> Mapping[str, Tensor]:
        """The gradients to step down, of the shapes of `now.weights`."""


@runtime_checkable
class Remembers(Protocol):
    """Keeps tensors of a task that has ended."""

    def remember(self, ending: Ending) -> dict[str, dict[str, Tensor]]:
        """The state from now on, in place of the one so far."""


@runtime_checkable
class Begins(Protocol):
    """Keeps tensors of the network before the first task."""

    def begin(self, policy: MetaPolicy) -> dict[str, dict[str, Tensor]]:
        """The state to begin with."""


def squared_distance(
    weights: Mapping[str, Tensor],
    anchor: Mapping[str, Tensor],
    importance: Mapping[str, Tensor],
) -> Tensor:
    """sum_i importance_i (weights_i - anchor_i)^2, over all parameters; a scalar."""
    parts = [(importance[k] * (w - anchor[k]).square()).sum() for k, w in weights.items()]
    return sum(parts[1:], parts[0])


@runtime_checkable
class GuardsWeights(Protocol):
    """Guards, and says whether single weights between two used units may stay free."""

    @property
    def single_weights(self) -> bool:
        """Whether a weight that no finished task uses stays free, whatever its ends."""


CAPABILITIES = {
    "guard": Guards,
    "penalty": Penalises,
    "transform": Transforms,
    "remember": Remembers,
    "begin": Begins,
}


def check_protections(protections: Sequence[Protection]) -> None:
    """Raises RecipeError for no protection, one that can do nothing, two of the same kind, or one
    that stands alone (by a class attribute `alone`) and does not.
    """
    if not protections:
        raise RecipeError(
            "protection: expected at least one, got an empty list; `none` keeps nothing"
        )
    for i, protection in enumerate(protections):
        name = type(protection).__name__
        if not any(isinstance(protection, can) for can in CAPABILITIES.values()):
            raise RecipeError(
                f"protection: {name} has no method {', '.join(CAPABILITIES)}; it needs one of them"
            )
        if type(protection) in map(type, protections[:i]):
            raise RecipeError(f"protection: {name} is there twice; merge the two")
        if getattr(protection, "alone", False) and len(protections) > 1:
            raise RecipeError(
                f"protection: {name} keeps nothing and cannot be combined with others; remove it"
            )


def check_parts(protections: Sequence[Protection], together: int) -> None:
    """Raises RecipeError for a protection that asks for tasks' parts of a batch, where each is
    learned alone.
    """
    for each in protections:
        if asks(each, "parts") and together == 1:
            raise RecipeError(
                f"protection: {type(each).__name__} reconciles tasks that are learned together, "
                f"but each is learned alone; set stream.together to 2 or more, or remove it"
            )


def check_keeping(mask: MaskPolicy, protections: Sequence[Protection]) -> None:
    """Raises RecipeError for a mask that leaves weights between its units to later tasks, under
    a protection that freezes all of these.
    """
    leaves = isinstance(mask, Keeps) or (isinstance(mask, Scored) and mask.trains_weights)
    if not leaves:
        return
    for each in protections:
        if isinstance(each, GuardsWeights) and not each.single_weights:
            raise RecipeError(
                f"protection: expected one that freezes single weights, for "
                f"{type(mask).__name__} leaves the others to later tasks, got "
                f"{type(each).__name__}, which freezes all between used neurons; "
                f"use protection={{name: freeze, by: tasks}}"
            )
