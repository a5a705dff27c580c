"""Gradients of what trains, as the protections want them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from cotasp.methods.batch import Rehearsal
from cotasp.methods.components import Component, Components
from cotasp.methods.finished import FinishedPolicies
from cotasp.methods.memory import Rehearses
from cotasp.methods.protection import Now, if_asked
from cotasp.methods.subpolicy import SubPolicy
from cotasp.methods.trained import LossRows, Objective, gradients_by_task

# number of rows -> as many old ones
DrawRehearsal = Callable[[int, Generator], "Rehearsal | None"]


class Gradients:
    """Gradients of a loss and, where they look at updates, of what protections make of it.

    Args:
        components: the protections.
        sub: the sub-network in training.
        finished: policies of finished tasks.
        marks: what the tasks' observations end with, see `gradients_by_task`; empty: nothing.
        rehearsal: gives rows of finished tasks; None: there never are any.
    """

    def __init__(
        self,
        components: Components,
        sub: SubPolicy,
        finished: FinishedPolicies,
        marks: Sequence[Sequence[float]],
        rehearsal: DrawRehearsal | None,
    ) -> None:
        self.components = components
        self.sub = sub
        self.finished = finished
        self.marks = marks
        self.rehearsal = rehearsal

    def __call__(
        self,
        loss: Tensor,
        beside: Sequence[Tensor],
        objective: Objective | None,
        rows: LossRows | None,
    ) -> tuple[Mapping[str, Tensor], Sequence[Tensor]]:
        """Gradients of the weights in training, by name, and of what trains beside them.

        Args:
            loss: scalar.
            beside: tensors; penalties and transforms are of the weights alone.
            objective, rows: of the loss; see `TrainedActor.step`.
        """
        weights = self.sub.weights()
        if not self.components.guards_updates:
            both = [*weights.values(), *beside]
            derivatives = torch.autograd.grad(loss, both, materialize_grads=True)
            return dict(zip(weights, derivatives)), derivatives[len(weights) :]
        slopes: Sequence[Tensor] = ()
        if beside:
            slopes = torch.autograd.grad(loss, beside, retain_graph=True, materialize_grads=True)
        return self.components.gradients(loss, self._views(weights, objective, rows)), slopes

    def _views(
        self, weights: Mapping[str, Tensor], objective: Objective | None, rows: LossRows | None
    ) -> list[Now]:
        """What each protection sees of an update."""
        parts = None
        if rows is not None and self.marks:
            parts = partial(gradients_by_task, rows, self.marks, weights)
        return [
            Now(
                weights,
                state,
                if_asked(each.component, "policy", self.finished),
                self.finished.objective(objective, each.generator),
                each.generator,
                self._rehearsed(each),
                None if parts is None else if_asked(each.component, "parts", parts),
            )
            for each, state in zip(self.components.protections, self.sub.states)
        ]

    def _rehearsed(self, each: Component) -> Rehearsal | None:
        if self.rehearsal is None or not isinstance(each.component, Rehearses):
            return None
        return self.rehearsal(each.component.rehearsal, each.generator)
