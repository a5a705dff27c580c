"""The protections and renewals of an actor, what they remember, and their random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from cotasp.errors import component_errors, refuse_returned
from cotasp.methods.batch import Batch
from cotasp.methods.method import Method
from cotasp.methods.protection import (
    Begins,
    Ending,
    Guards,
    Now,
    Penalises,
    Remembers,
    Transforms,
    asks,
)
from cotasp.methods.renewing import network_view
from cotasp.methods.subpolicy import SubPolicy
from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.returned import wrong_state, wrong_tensor, wrong_tensors
from cotasp.modules.share import Share

DrawRows = Callable[[int, Generator], Batch]  # number -> as many rows of the task in training


@dataclass
class Component:
    """A protection or renewal, what it remembers, and its random numbers."""

    component: Any
    state: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    generator: Generator = field(default_factory=Generator)


class Components:
    """Asks protections and renewals for what they can do, and holds what they return.

    Args:
        method: whose they are.
        seed: of the problem.
        policy: the meta-policy, before the first task.
        device: of states.
    """

    def __init__(self, method: Method, seed: int, policy: MetaPolicy, device: torch.device) -> None:
        self.protections = [Component(p) for p in method.protections]
        self.renewals = [Component(r) for r in method.renewals]
        self.device = device
        for i, each in enumerate((*self.protections, *self.renewals)):
            each.generator.manual_seed(seed * 10_007 + 7919 * (i + 1))
        # whether a protection looks at updates
        self.guards_updates = any(
            isinstance(p, (Penalises, Transforms)) for p in method.protections
        )
        for each in self.protections:
            if isinstance(each.component, Begins):
                with component_errors("protection", each.component):
                    state = each.component.begin(policy)
                each.state = self._checked_state(each, "begin", state)

    def guard(
        self,
        policy: MetaPolicy,
        ownership: Ownership,
        limits: Sequence[Mapping[str, Tensor]] = (),
    ) -> dict[str, Tensor] | None:
        """What all guards let move, by parameter's name; None: everything.

        Args:
            policy: whose weights.
            ownership: what they are guarded for.
            limits: what else must let it move, true where it may.
        """
        guards = [*limits]
        for each in self.protections:
            if isinstance(each.component, Guards):
                with component_errors("protection", each.component):
                    guard = each.component.guard(policy, ownership)
                if guard is not None:
                    wrong = wrong_tensors(guard, dict(policy.named_parameters()), torch.bool)
                    _refuse(each, "guard", "bool tensors of the weights' names and shapes", wrong)
                    guards.append(guard)
        if not guards:
            return None
        return {k: torch.stack([g[k] for g in guards]).all(0) for k in guards[0]}

    @property
    def states(self) -> list[dict[str, dict[str, Tensor]]]:
        """What protections remember, in the meta-policy's shapes."""
        return [each.state for each in self.protections]

    def gradients(self, loss: Tensor, views: Sequence[Now]) -> Mapping[str, Tensor]:
        """Gradients of a loss and the penalties, transformed.

        Args:
            loss: scalar.
            views: of each protection.
        """
        weights = views[0].weights
        loss = self.penalised(loss, views)
        gradients: Mapping[str, Tensor] = dict(
            zip(weights, torch.autograd.grad(loss, list(weights.values()), materialize_grads=True))
        )
        for each, now in zip(self.protections, views):
            if isinstance(each.component, Transforms):
                with component_errors("protection", each.component):
                    gradients = each.component.transform(gradients, now)
                wrong = wrong_tensors(gradients, weights)
                _refuse(each, "transform", "gradients of the weights' names and shapes", wrong)
        return gradients

    def penalised(self, loss: Tensor, views: Sequence[Now]) -> Tensor:
        """A loss and the penalties of all protections that have one."""
        for each, now in zip(self.protections, views):
            if isinstance(each.component, Penalises):
                with component_errors("protection", each.component):
                    penalty = each.component.penalty(now)
                if penalty is not None:
                    wrong = wrong_tensor(penalty, loss.shape, loss.dtype)
                    _refuse(each, "penalty", "a scalar tensor, or None", wrong)
                    loss = loss + penalty
        return loss

    @property
    def asks_start(self) -> bool:
        """Whether a renewal asks for the weights that the task began with."""
        return any(asks(each.component, "start") for each in self.renewals)

    def renew(
        self,
        sub: SubPolicy,
        observations: Tensor,
        progress: float,
        factors: Mapping[str, Tensor],
    ) -> None:
        """Renewals that are due after the last step of the weights.

        Args:
            sub: the sub-network, cut.
            observations: [B, m].
            progress: of the task, in [0, 1].
            factors: of the meta-policy; see `network_view`.
        """
        for each in self.renewals:
            if sub.optimiser.steps % each.component.every == 0:
                with torch.no_grad(), component_errors("renewal", each.component):
                    view = network_view(
                        sub, observations, each.generator, each.state, progress, factors
                    )
                    values = each.component.renew(view)
                wrong = wrong_tensors(values, view.weights, every=False)
                expected = "values of weights, by name, of their shapes"
                refuse_returned("renewal", each.component, "renew", expected, wrong)
                sub.renew_members(values)

    def remember(self, task: int, policy: MetaPolicy, share: Share, rows: DrawRows) -> None:
        """Lets protections remember a task that has ended with a share."""
        for each in self.protections:
            if isinstance(each.component, Remembers):
                drawn = partial(_drawn, rows, each.generator)
                ending = Ending(task, policy, share, drawn, each.state, each.generator)
                with component_errors("protection", each.component):
                    state = each.component.remember(ending)
                each.state = self._checked_state(each, "remember", state)

    @staticmethod
    def _checked_state(each: Component, method: str, state: Any) -> dict[str, dict[str, Tensor]]:
        _refuse(each, method, "{what: {name: tensor}}", wrong_state(state))
        return state

    def _named(self) -> Iterator[tuple[str, Component]]:
        """By names that a run which goes on with other components does not mistake."""
        for each in self.protections:
            yield type(each.component).__name__, each
        for i, each in enumerate(self.renewals):
            yield f"{type(each.component).__name__}_{i}", each

    def state_dict(self) -> dict[str, Any]:
        """States and generators, by component."""
        return {
            name: {"state": each.state, "generator": each.generator.get_state()}
            for name, each in self._named()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back the states of the components that are there."""
        for name, each in self._named():
            saved = state.get(name)
            if saved is not None:
                each.state = {
                    kind: {k: t.to(self.device, copy=True) for k, t in tensors.items()}
                    for kind, tensors in saved["state"].items()
                }
                each.generator.set_state(saved["generator"])


def _refuse(each: Component, method: str, expected: str, wrong: str | None) -> None:
    refuse_returned("protection", each.component, method, expected, wrong)


def _drawn(rows: DrawRows, generator: Generator, count: int) -> Batch:
    return rows(count, generator)
