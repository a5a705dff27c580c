"""Protections: what keeps old tasks' knowledge while a new task trains.

A protection may *guard* weights (they get no step) or *penalise* moving them.  What it must
remember it returns as parameter-shaped tensors, which the learner saves with everything else
and, in compact execution, gathers for the sub-network like any parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.modules.ownership import Ownership
    from cotasp.modules.policy import MetaPolicy

    Memory = Mapping[str, Mapping[str, Tensor]]  # e.g. {"fisher": {parameter name: tensor}}

STATES = 1024  # states of a task that a protection is shown when it ends


@runtime_checkable
class Protection(Protocol):
    """Keeps finished tasks' policies, wholly or nearly, while others train."""

    def guard(self, policy: MetaPolicy, ownership: Ownership) -> dict[str, Tensor] | None:
        """Parameter name to bool tensor, true where the weight may change; None: all may."""
        ...

    def penalty(self, weights: Mapping[str, Tensor], memory: Memory) -> Tensor | None:
        """A scalar added to the actor's loss; None: nothing.

        Args:
            weights: the (sub-)network's parameters by name.  Zeros may pad their rows and
                columns, here and in `memory`: units that are not there.
            memory: what `remember` returned, with tensors of the same shapes as `weights`.
        """
        ...

    def remember(
        self, policy: MetaPolicy, mask: Tensor, observations: Tensor, memory: Memory
    ) -> dict[str, dict[str, Tensor]]:
        """The memory after a task has ended.

        Args:
            policy: with the weights the task ended with.
            mask: [sum(hidden)], the task's mask.
            observations: [STATES, in_features], states of the task.
            memory: the memory so far, empty at first.
        """
        ...


@dataclass(frozen=True)
class Freeze:
    """Freezes every weight whose two ends finished tasks use (CoTASP, Eq. 4): forgets nothing.

    theta <- theta + eta g * (1 - min(owned_{l-1}, owned_l)), arXiv 2305.18444.

    Args:
        guard_log_std: whether the log-std head is guarded too.  False reproduces the reference
            code, whose finished tasks keep their mean action but not their action noise.
    """

    guard_log_std: bool = True

    def guard(self, policy: MetaPolicy, ownership: Ownership) -> dict[str, Tensor] | None:
        if not ownership.finished.any():
            return None
        return ownership.guard(policy, log_std=self.guard_log_std)

    def penalty(self, weights: Mapping[str, Tensor], memory: Memory) -> Tensor | None:
        return None

    def remember(
        self, policy: MetaPolicy, mask: Tensor, observations: Tensor, memory: Memory
    ) -> dict[str, dict[str, Tensor]]:
        return {}


@dataclass(frozen=True)
class Unprotected:
    """Keeps nothing: plain fine-tuning."""

    def guard(self, policy: MetaPolicy, ownership: Ownership) -> dict[str, Tensor] | None:
        return None

    def penalty(self, weights: Mapping[str, Tensor], memory: Memory) -> Tensor | None:
        return None

    def remember(
        self, policy: MetaPolicy, mask: Tensor, observations: Tensor, memory: Memory
    ) -> dict[str, dict[str, Tensor]]:
        return {}


@dataclass(frozen=True)
class EWC:
    """Elastic weight consolidation: pulls weights back in proportion to their Fisher information.

    penalty = weight / 2 * sum_i F_i (theta_i - theta*_i)^2 (arXiv 1612.00796, Eq. 3), with
    theta* the weights at the end of the last task and F the sum over finished tasks of
    F_i = E_s E_{a ~ pi(.|s)} [(d log pi(a|s) / d theta_i)^2].

    Args:
        weight: strength of the pull, at least 0.
        samples: states (and one action each) the Fisher information is estimated from.
    """

    weight: float = 1e4
    samples: int = 256

    def __post_init__(self):
        if self.weight < 0:
            raise RecipeError(f"EWC.weight: expected at least 0, got {self.weight}")
        if not 1 <= self.samples <= STATES:
            raise RecipeError(f"EWC.samples: expected in [1, {STATES}], got {self.samples}")

    def guard(self, policy: MetaPolicy, ownership: Ownership) -> dict[str, Tensor] | None:
        return None

    def penalty(self, weights: Mapping[str, Tensor], memory: Memory) -> Tensor | None:
        if not memory:
            return None
        fisher, anchor = memory["fisher"], memory["anchor"]
        pulls = [(fisher[k] * (w - anchor[k]).square()).sum() for k, w in weights.items()]
        return 0.5 * self.weight * sum(pulls[1:], pulls[0])

    def remember(
        self, policy: MetaPolicy, mask: Tensor, observations: Tensor, memory: Memory
    ) -> dict[str, dict[str, Tensor]]:
        from cotasp.methods.fisher import fisher_information

        fisher = fisher_information(policy, mask, observations[: self.samples])
        for name, old in memory.get("fisher", {}).items():
            fisher[name] += old
        weights = {k: p.detach().clone() for k, p in policy.named_parameters()}
        return {"fisher": fisher, "anchor": weights}
