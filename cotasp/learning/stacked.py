"""Updates of several learners computed together: one product where each would make its own.

What each learns is what it would learn alone, up to the rounding of sums in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call

from cotasp.learning.adam import Adam
from cotasp.learning.compiled import LossFunctions, loss_functions
from cotasp.learning.losses import Batch, Policy, distillation_loss, temperature_gradient
from cotasp.learning.subpolicy import average_
from cotasp.learning.updates import Draw, Losses, losses
from cotasp.modules.ensembles import bind
from cotasp.modules.subnetwork import pad, pad_layers, unpadded

if TYPE_CHECKING:
    from cotasp.learning.sac_learner import SACLearner


def update_together(
    learners: Sequence[SACLearner], draws: Sequence[Sequence[Draw]]
) -> list[list[Losses]]:
    """As many updates of each learner as it has draws; `update_alone` for many.

    Learners that are at different places of their tasks, so that their updates differ in kind,
    are updated apart.

    Args:
        learners: of one recipe, apart from the seed.
        draws: for each learner, what its updates draw.

    Returns:
        for each learner, the losses of its updates.
    """
    places: dict[tuple, list[int]] = {}
    for i, (learner, mine) in enumerate(zip(learners, draws)):
        place = (learner.phase, learner.sub.optimiser.steps, learner.values.critic_optimiser.steps)
        places.setdefault((*place, len(mine)), []).append(i)
    results: list[list[Losses]] = [[] for _ in learners]
    for alike in places.values():
        first = learners[alike[0]]
        with loss_functions(first.settings, first.phase) as compute:
            stack = Stack([learners[i] for i in alike], compute)
            for together in zip(*(draws[i] for i in alike)):
                for i, values in zip(alike, stack.update(together)):
                    results[i].append(values)
            stack.write_back()
    return results


class Stack:
    """Networks and optimisers of several learners in one phase, as copies, one above the other.

    Sub-networks are padded with neurons that a mask switches off.

    Args:
        learners: in the same phase, after equally many updates of it.
        compute: the losses of that phase.
    """

    def __init__(self, learners: Sequence[SACLearner], compute: LossFunctions) -> None:
        self.learners = learners
        self.compute = compute
        first = learners[0]
        self.settings = first.settings
        self.phase = first.phase
        self.target_entropy = first.values.target_entropy
        self.critics = StackedAdam([x.values.critic_optimiser for x in learners])
        self.temperature = StackedAdam([x.values.temperature_optimiser for x in learners])
        self.actor = StackedAdam([x.sub.optimiser for x in learners])
        self.averages = [stack(same) for same in zip(*(x.sub.average for x in learners))]
        self.targets = [
            stack(same) for same in zip(*(x.values.targets.parameters() for x in learners))
        ]
        hidden = [max(widths) for widths in zip(*(x.sub.network.hidden for x in learners))]
        self.policy = first.sub.network.with_hidden(hidden)
        names = (name for name, _ in self.policy.named_parameters())
        self.weights = dict(zip(names, self.actor.parameters))
        self.critic = bind(first.values.critics, self.critics.parameters)
        self.target = bind(first.values.critics, self.targets)
        self.own = [
            {k: unpadded(self.weights[k][i], p.shape) for k, p in x.sub.weights().items()}
            for i, x in enumerate(learners)
        ]  # views
        self.mask = self._masks([x.sub.mask for x in learners])
        self.fixed = self._fixed()

    def update(self, draws: Sequence[Draw]) -> list[Losses]:
        """One update of every learner, from a draw each; returns their losses."""
        batch = Batch(*(torch.stack(columns) for columns in zip(*(draw.batch for draw in draws))))
        if self.phase == "distillation":
            loss = distillation_loss(self._policy(self.mask), batch.observation)
            self._step_weights(loss.sum())
            return [{"distillation_loss": mine} for mine in loss.detach()]
        noise = torch.stack([draw.noise for draw in draws], 1)  # [2, learners, B, action_dim]
        temperature = self.temperature.parameters[0].detach().exp()
        critic, gradients = self.compute.critic_loss(
            self.critic,
            self.target,
            self._policy(self.mask),
            batch,
            temperature,
            noise[0],
            self.settings.ensemble,
        )
        self.critics.step(gradients)
        step = self._step_theta if self.phase == "theta" else self._step_code
        given = batch.observation, temperature, noise[1], self.settings.ensemble
        actor, log_prob = step(*given)
        self.temperature.step([temperature_gradient(log_prob, self.target_entropy)])
        with torch.no_grad():
            torch._foreach_lerp_(self.targets, self.critics.parameters, self.settings.tau)
        return [losses(*each) for each in zip(critic, actor, temperature, log_prob)]

    def _policy(self, mask: Tensor) -> Policy:
        """Of all learners; mask [learners, sum of the padded widths]."""
        call = torch.vmap(partial(functional_call, self.policy))
        return lambda observation: call(self.weights, (observation, mask))

    def _step_theta(self, *given: Any) -> tuple[Tensor, Tensor]:
        policy = self._policy(self.mask)
        values, total, log_prob = self.compute.actor_loss(self.critic, policy, *given)
        self._step_weights(total)
        return values, log_prob

    def _step_weights(self, total: Tensor) -> None:
        """One guarded step of all down the sum of their losses and of their penalties."""
        for learner, weights in zip(self.learners, self.own):
            penalty = learner.protection.penalty(weights, learner.sub.memory)
            total = total if penalty is None else total + penalty
        gradients = torch.autograd.grad(total, self.actor.parameters)
        self.actor.step([g.masked_fill(fixed, 0.0) for g, fixed in zip(gradients, self.fixed)])
        decay, steps = self.settings.actor_average, self.actor.adam.steps
        average_(self.averages, self.actor.parameters, decay, steps)

    def _step_code(self, *given: Any) -> tuple[Tensor, Tensor]:
        masks = [learner.sub.select(learner.mask()) for learner in self.learners]
        policy = self._policy(self._masks(masks))
        values, total, log_prob = self.compute.actor_loss(self.critic, policy, *given)
        if masks[0].requires_grad:
            gradients = torch.autograd.grad(total, [x.code for x in self.learners])
            for learner, gradient in zip(self.learners, gradients):
                learner.step_code(gradient)
        return values, log_prob

    def _masks(self, masks: Iterable[Tensor | None]) -> Tensor:
        """Masks [learners, sum of the padded widths] of networks of different widths."""
        padded = []
        for sub, mask in zip((x.sub for x in self.learners), masks):
            layers = (sub.units() if mask is None else mask).split(sub.network.hidden)
            padded.append(pad_layers(layers, self.policy.hidden))
        return torch.stack(padded)

    def _fixed(self) -> list[Tensor]:
        """Per parameter of the policy, [learners, *], true where it may not step."""
        fixed = []
        for name, weight in self.weights.items():
            none = torch.zeros_like(weight[0], dtype=torch.bool)
            fixed.append(stack([x.sub.fixed.get(name, none) for x in self.learners]))
        return fixed

    def write_back(self) -> None:
        """Gives the learners what they have become."""
        for optimiser in (self.critics, self.temperature, self.actor):
            optimiser.write_back()
        for i, learner in enumerate(self.learners):
            mine = [target[i] for target in self.targets]
            torch._foreach_copy_(list(learner.values.targets.parameters()), mine)
            own = learner.sub.average
            parts = [unpadded(a[i], b.shape) for a, b in zip(self.averages, own)]
            if own:
                torch._foreach_copy_(own, parts)


class StackedAdam:
    """One Adam for the parameters of several, which are copied until `write_back`.

    Args:
        optimisers: after equally many steps.
    """

    def __init__(self, optimisers: Sequence[Adam]) -> None:
        self.optimisers = optimisers
        self.parameters = [
            stack(same).requires_grad_() for same in zip(*(x.parameters for x in optimisers))
        ]
        self.adam = Adam(self.parameters, optimisers[0].learning_rate)
        for key in self.adam.moments:
            theirs = zip(*(x.moments[key] for x in optimisers))
            self.adam.moments[key] = [stack(same) for same in theirs]
        self.adam.count_from(optimisers[0].steps)
        self.step = self.adam.step

    def write_back(self) -> None:
        """Copies parameters, moments and steps to those they came from."""
        mine = [self.adam.parameters, *self.adam.moments.values()]
        for i, optimiser in enumerate(self.optimisers):
            theirs = list(chain(optimiser.parameters, *optimiser.moments.values()))
            parts = [unpadded(a[i], b.shape) for a, b in zip(chain(*mine), theirs)]
            torch._foreach_copy_(theirs, parts)
            optimiser.count_from(self.adam.steps)


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors that differ in sizes as one, [n, *], padded with zeros at the ends."""
    shape = [max(sizes) for sizes in zip(*(t.shape for t in tensors))]
    return torch.stack([pad(tensor, shape) for tensor in tensors])
