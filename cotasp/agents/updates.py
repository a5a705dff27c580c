"""Updates of a learner, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from cotasp.agents.compiled import LossFunctions, loss_functions
from cotasp.agents.losses import distillation_loss, imitation_loss
from cotasp.agents.settings import OffPolicy
from cotasp.agents.values import Values
from cotasp.errors import component_errors, refuse_returned
from cotasp.methods.actor import ContinualActor
from cotasp.methods.batch import Batch
from cotasp.methods.trained import TrainedActor


class Draws(NamedTuple):
    """What chance gives some updates, [updates] in front.

    Args:
        batch: of transitions.
        noise: [updates, 2, B, action_dim], standard normal: of the next action, and of the action;
            distillation does not use it.
    """

    batch: Batch
    noise: Tensor

    def each(self) -> Iterator[tuple[Batch, Tensor]]:
        """Batch and noise of one update after the other."""
        for *columns, noise in zip(*self.batch, self.noise):
            yield Batch(*columns), noise


Losses = dict[str, Tensor]  # of updates [updates], or of one, scalars


class Updated(Protocol):
    """What updates change: the part of a learner that they see."""

    settings: OffPolicy
    actor: ContinualActor
    values: Values
    phase: str  # "theta" or "code", as the settings call them, "distillation" or "imitation"


Updater = Callable[[Any, Draws], Losses]  # an `Updated`, what its updates draw -> their losses


class Stacking(NamedTuple):
    """How a learner shares a process with others.

    Args:
        updater: computes its updates with theirs.
        learners: how many of them this one makes sure that there is memory for.
    """

    updater: Updater
    learners: int


def update(
    settings: OffPolicy,
    values: Values,
    actor: TrainedActor,
    phase: str,
    batch: Batch,
    noise: Tensor,
) -> Losses:
    """One update, of one learner or of many stacked; their losses, [*].

    Raises:
        PluginError: the agent's update does not return the losses that it names.
    """
    if phase == "distillation":
        loss = distillation_loss(actor.policy, batch.observation)
        actor.step(loss.sum(), None, None)
        return {"distillation_loss": loss.detach()}
    if phase == "imitation" and actor.teacher is not None:
        loss = imitation_loss(actor.policy, actor.teacher, batch.observation)
        actor.step(loss.sum(), None, None)
        return {"imitation_loss": loss.detach()}
    losses = settings.update(values, actor, batch, noise)
    names = settings.losses
    fits = isinstance(losses, dict) and all(isinstance(losses.get(k), Tensor) for k in names)
    wrong = None if fits else f"{losses!r:.80}"
    refuse_returned("agent", settings, "update", f"tensors {', '.join(names)}", wrong)
    return losses


def losses_of(settings: OffPolicy, phase: str) -> AbstractContextManager[LossFunctions]:
    """What computes an agent's losses in a phase; see `loss_functions`."""
    return loss_functions(settings.precision, settings.compiles and phase == "theta")


def names_of_losses(settings: OffPolicy, phase: str) -> tuple[str, ...]:
    """What an update returns."""
    own = ("distillation", "imitation")
    return (f"{phase}_loss",) if phase in own else settings.losses


def update_alone(learner: Updated, draws: Draws) -> Losses:
    """One update after the other, and the renewals that they make due."""
    settings, values, actor, phase = learner.settings, learner.values, learner.actor, learner.phase
    history = []
    with losses_of(settings, phase) as compute, component_errors("agent", settings):
        values.compute = compute
        for batch, noise in draws.each():
            before = actor.sub.optimiser.steps
            history.append(update(settings, values, actor, phase, batch, noise))
            if phase == "theta" and actor.sub.optimiser.steps > before:  # TD3 steps now and then
                actor.renew(batch)
    return {name: torch.stack([losses[name] for losses in history]) for name in history[0]}
