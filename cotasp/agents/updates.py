"""Updates of soft actor-critic: critic, actor or code with the new critic, temperature.

And those of distillation, before a task's first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from cotasp.agents.compiled import LossFunctions, loss_functions
from cotasp.agents.losses import distillation_loss
from cotasp.methods.batch import Batch

if TYPE_CHECKING:
    from cotasp.agents.sac_learner import SACLearner


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


LOSSES = ("critic_loss", "actor_loss", "temperature", "entropy")  # of an update of weights or code
Losses = dict[str, Tensor]  # of updates [updates], or of one, scalars
# a learner in the phase of its next updates and what they draw -> their losses
Updater = Callable[["SACLearner", Draws], Losses]


class Together(NamedTuple):
    """How a learner shares a process with others.

    Args:
        updater: computes its updates with theirs.
        learners: how many of them this one makes sure that there is memory for.
    """

    updater: Updater
    learners: int


def update_alone(learner: SACLearner, draws: Draws) -> Losses:
    """One update after the other."""
    with loss_functions(learner.settings, learner.phase) as compute:
        made = [_update(learner, compute, *each) for each in draws.each()]
    return {name: torch.stack([losses[name] for losses in made]) for name in made[0]}


def _update(learner: SACLearner, compute: LossFunctions, batch: Batch, noise: Tensor) -> Losses:
    values, sub = learner.values, learner.sub
    if learner.phase == "distillation":
        loss = distillation_loss(sub, batch.observation)
        learner.step_weights(loss)
        return {"distillation_loss": loss.detach()}
    temperature = values.temperature
    critic = values.step_critics(compute.critic_loss, sub, batch, noise[0])
    inputs = batch.observation, temperature, noise[1], learner.settings.ensemble
    if learner.phase == "theta":
        actor, surrogate, log_prob = compute.actor_loss(values.ensemble, sub, *inputs)
        learner.step_weights(surrogate)
    else:
        mask = sub.select(learner.mask())
        policy = partial(sub, mask=mask)
        actor, surrogate, log_prob = compute.actor_loss(values.ensemble, policy, *inputs)
        if mask.requires_grad:
            learner.step_code(*torch.autograd.grad(surrogate, [learner.code]))
    values.step_temperature(log_prob)
    values.follow()
    return losses(critic, actor, temperature, log_prob)


def losses(critic: Tensor, actor: Tensor, temperature: Tensor, log_prob: Tensor) -> Losses:
    """By the names that they are logged by.

    Args:
        critic, actor, temperature: [*].
        log_prob: [*, B].
    """
    return dict(zip(LOSSES, (critic, actor, temperature, -log_prob.mean(-1))))
