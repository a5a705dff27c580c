"""Actors of several learners, computed together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from cotasp.methods.actor import ContinualActor
from cotasp.methods.averaging import average_, clipped
from cotasp.methods.protection import Now, if_asked
from cotasp.methods.stacking import StackedAdam, WriteBack, stack
from cotasp.methods.trained import LossRows, Objective
from cotasp.modules.policy import Policy
from cotasp.modules.subnetwork import pad_layers, unpadded


class StackedActor:
    """Sub-networks of several actors that train the same, as copies, one above the other.

    They are padded with neurons that a mask switches off.  What an update reads and writes stays
    where it is, so that it can be captured as a CUDA graph.

    Args:
        actors: after equally many steps.
    """

    def __init__(self, actors: Sequence[ContinualActor]) -> None:
        self.actors = actors
        self.teacher: Policy | None = None
        self.trains = actors[0].trains
        self.optimiser = StackedAdam([x.sub.optimiser for x in actors])
        self.averages = [stack(same) for same in zip(*self._averages())]
        self._averages_back = WriteBack(self.averages, self._averages())
        hidden = [max(widths) for widths in zip(*(x.sub.network.hidden for x in actors))]
        self.network = actors[0].sub.network.with_hidden(hidden)
        names = (name for name, _ in self.network.named_parameters())
        self.weights = dict(zip(names, self.optimiser.parameters))
        self.mask = self._masks([x.sub.mask for x in actors])
        self.fixed = [stack(same) for same in zip(*self._fixed())]

    @property
    def own(self) -> list:
        """The optimisers that were copied."""
        return [x.sub.optimiser for x in self.actors]

    def load(self) -> None:
        """Copies what the actors are now, in the place of what they were."""
        self.optimiser.load(self.own)
        for into, same in zip(self.averages, zip(*self._averages())):
            stack(same, into)
        self._averages_back = WriteBack(self.averages, self._averages())
        for into, same in zip(self.fixed, zip(*self._fixed())):
            stack(same, into)
        self.mask.copy_(self._masks([x.sub.mask for x in self.actors]))

    def write_back(self) -> None:
        """Gives the actors what they have become."""
        self.optimiser.write_back()
        if self.averages:
            self._averages_back()

    def policy(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """loc, scale [n, B, action_dim] of observations [n, B, m]."""
        return self._of(self.mask)(observation)

    def policy_in_training(self) -> Policy:
        """The same, attached to what now trains."""
        if self.trains != "code":
            return self._of(self.mask)
        masks = [x.sub.select(x.mask()) for x in self.actors]
        self._attached = masks[0].requires_grad
        return self._of(self._masks(masks))

    def _of(self, mask: Tensor) -> Policy:
        """Of all; mask [n, sum of the padded widths]."""
        head = self.actors[0].sub.head

        def one(weights: dict[str, Tensor], x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
            return functional_call(self.network, weights, (x, mask, head))

        return lambda observation: torch.vmap(one)(self.weights, observation, mask)

    def step(self, loss: Tensor, objective: Objective | None, rows: LossRows | None) -> None:
        """One step of all down the sum of their losses and of their penalties."""
        if self.trains == "code":
            if self._attached:
                gradients = torch.autograd.grad(loss, [x.code for x in self.actors])
                for actor, gradient in zip(self.actors, gradients):
                    actor.task_code.step(gradient)
            return
        for i, actor in enumerate(self.actors if self.actors[0].components.guards_updates else ()):
            # views made here and forgotten here: a graph that is captured must meet no older ones
            own = {k: unpadded(self.weights[k][i], p.shape) for k, p in actor.sub.weights().items()}
            views = []
            for each, state in zip(actor.components.protections, actor.sub.states):
                nobody_asks = if_asked(each.component, "policy", actor.gradients.finished)
                views.append(Now(own, state, nobody_asks, None, each.generator))
            loss = actor.components.penalised(loss, views)
        weights = self.optimiser.parameters
        self._step(torch.autograd.grad(loss, weights, materialize_grads=True))

    def _step(self, gradients: Sequence[Tensor]) -> None:
        adam = self.optimiser
        guarded = [g.masked_fill(fixed, 0.0) for g, fixed in zip(gradients, self.fixed)]
        adam.step(clipped(guarded, self.actors[0].rates.clip, stacked=True))
        if self.averages:
            # from the tensor that counts the steps, so that a graph counts along
            steps = adam.adam.count.to(self.averages[0].dtype)
            latest = 10.0 / (steps + 10.0)
            weight = latest.clamp(min=1.0 - self.actors[0].rates.average)
            average_(self.averages, adam.parameters, weight)

    def _masks(self, masks: Iterable[Tensor | None]) -> Tensor:
        """Masks [n, sum of the padded widths] of networks of different widths."""
        padded = []
        for sub, mask in zip((x.sub for x in self.actors), masks):
            layers = (sub.units() if mask is None else mask).split(sub.network.hidden)
            padded.append(pad_layers(layers, self.network.hidden))
        return torch.stack(padded)

    def _averages(self) -> list[list[Tensor]]:
        return [x.sub.average for x in self.actors]

    def _fixed(self) -> list[list[Tensor]]:
        """Per actor and parameter of its network, true where it may not step."""
        return [
            [
                x.sub.fixed.get(name, torch.zeros_like(weight, dtype=torch.bool))
                for name, weight in x.sub.weights().items()
            ]
            for x in self.actors
        ]
