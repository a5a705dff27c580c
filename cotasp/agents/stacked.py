"""Updates of several learners computed together: one product where each would make its own.

What each learns is what it would learn alone, up to the rounding of sums in another order.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call

from cotasp.agents.compiled import LossFunctions, loss_functions
from cotasp.agents.graphs import CapturedGraph
from cotasp.agents.losses import Policy, distillation_loss, temperature_gradient
from cotasp.agents.updates import LOSSES, Draws, Losses, losses
from cotasp.methods.adam import Adam
from cotasp.methods.batch import Batch
from cotasp.methods.subpolicy import average_
from cotasp.modules.ensembles import bind
from cotasp.modules.subnetwork import pad, pad_layers, unpadded

if TYPE_CHECKING:
    from cotasp.agents.sac_learner import SACLearner

KEPT = 8  # stacks, each with its captured graph, of the sizes that were met last


class UpdatesTogether:
    """Updates of several learners of one recipe, computed together; `update_alone` for many.

    Learners that are at different places of their tasks, so that their updates differ in kind,
    are updated apart.
    """

    def __init__(self) -> None:
        self.stacks: dict[tuple, Stack] = {}

    def __call__(self, learners: Sequence[SACLearner], draws: Sequence[Draws]) -> list[Losses]:
        """As many updates of each learner as it has drawn for.

        Args:
            learners: of one recipe, apart from the seed.
            draws: for each learner, what its updates draw.

        Returns:
            for each learner, the losses of its updates.
        """
        places: dict[tuple, list[int]] = {}
        for i, (learner, own) in enumerate(zip(learners, draws)):
            steps = learner.sub.optimiser.steps, learner.values.critic_optimiser.steps
            places.setdefault((learner.phase, *steps, len(own.noise)), []).append(i)
        results: list[Losses] = [{} for _ in learners]
        for alike in places.values():
            first = learners[alike[0]]
            with loss_functions(first.settings, first.phase) as compute:
                stack = self._stack([learners[i] for i in alike], compute)
                made = stack.update([draws[i] for i in alike])
                for i, of_one in zip(alike, made):
                    results[i] = of_one
        return results

    def alone(self, learner: SACLearner, draws: Draws) -> Losses:
        """Updates of one learner, as those of many are computed."""
        return self([learner], [draws])[0]

    def _stack(self, learners: Sequence[SACLearner], compute: LossFunctions) -> Stack:
        """One of the kept stacks, with what the learners are now, or a new one."""
        key = stack_key(learners)
        stack = self.stacks.pop(key, None)
        if stack is None:
            stack = Stack(learners, compute)
        elif not stack.is_current():
            stack.load()
        self.stacks[key] = stack  # the last one is the latest used
        while len(self.stacks) > KEPT:
            del self.stacks[next(iter(self.stacks))]
        return stack


def stack_key(learners: Sequence[SACLearner]) -> tuple:
    """Equal for learners that one `Stack` can hold, now and later."""
    memories = [t.data_ptr() for x in learners for of in x.sub.memory.values() for t in of.values()]
    widths = [x.sub.network.hidden for x in learners]
    # a protection's penalty is computed on each learner's own weights and memory
    shapes = (*widths, *memories) if memories else map(max, zip(*widths))
    return learners[0].phase, *map(id, learners), *shapes


class Stack:
    """Networks and optimisers of several learners in one phase, as copies, one above the other.

    Sub-networks are padded with neurons that a mask switches off.  On a GPU an update of weights
    is captured as a CUDA graph, so everything that it reads and writes stays where it is.

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
        self.targets = [stack(same) for same in zip(*self._targets())]
        hidden = [max(widths) for widths in zip(*(x.sub.network.hidden for x in learners))]
        self.policy = first.sub.network.with_hidden(hidden)
        names = (name for name, _ in self.policy.named_parameters())
        self.weights = dict(zip(names, self.actor.parameters))
        self.critic = bind(first.values.critics, self.critics.parameters)
        self.target = bind(first.values.critics, self.targets)
        self.mask = self._masks([x.sub.mask for x in learners])
        self.fixed = [stack(same) for same in zip(*self._fixed())]
        device = first.device.type
        self.captures = self.settings.cuda_graphs and device == "cuda" and self.phase != "code"
        self.graph: CapturedGraph | None = None

    def _targets(self) -> list[list[Tensor]]:
        return [list(x.values.targets.parameters()) for x in self.learners]

    def _optimisers(self) -> list[tuple[StackedAdam, list[Adam]]]:
        values = [x.values for x in self.learners]
        return [
            (self.critics, [x.critic_optimiser for x in values]),
            (self.temperature, [x.temperature_optimiser for x in values]),
            (self.actor, [x.sub.optimiser for x in self.learners]),
        ]

    def is_current(self) -> bool:
        """Whether no learner has changed since it was last given back what it has become."""
        return all(stacked.is_current(own) for stacked, own in self._optimisers())

    def load(self) -> None:
        """Copies what the learners are now, in the place of what they were."""
        for stacked, own in self._optimisers():
            stacked.load(own)
        averages = (x.sub.average for x in self.learners)
        for into, same in chain(
            zip(self.averages, zip(*averages)),
            zip(self.targets, zip(*self._targets())),
            zip(self.fixed, zip(*self._fixed())),
        ):
            stack(same, into)
        self.mask.copy_(self._masks([x.sub.mask for x in self.learners]))

    def update(self, draws: Sequence[Draws]) -> list[Losses]:
        """Updates of every learner, who gets what it has become; their losses."""
        batches = [torch.stack(same, 1) for same in zip(*(x.batch for x in draws))]
        noise = torch.stack([x.noise for x in draws], 2)  # [updates, 2, learners, B, action_dim]
        for stacked, own in self._optimisers():
            stacked.adam.learning_rate = own[0].learning_rate
        if self.captures and self.graph is None:
            self._capture([*(column[0] for column in batches), noise[0]])
        step = self._step if self.graph is None else self.graph
        names = ("distillation_loss",) if self.phase == "distillation" else LOSSES
        rows = noise.new_empty(len(noise), len(names), len(self.learners))
        for row, *inputs in zip(rows, *batches, noise):
            now = step(*inputs)  # whose values the next step may overwrite
            torch._foreach_copy_(row.unbind(), [now[name] for name in names])
        self._write_back()
        return [dict(zip(names, columns.unbind(1))) for columns in rows.unbind(2)]

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        try:
            self.graph = CapturedGraph(self._step, inputs)
        except RuntimeError as error:
            warnings.warn(
                f"recipe.agent.cuda_graphs: an update could not be captured, so training goes on "
                f"without, right but slower; cuda_graphs=false ends this warning "
                f"({str(error).strip().split(chr(10))[0]})",
                stacklevel=2,
            )
            self.captures = False
        self.load()  # the updates made for the capture count for nothing

    def _step(self, *inputs: Tensor) -> Losses:
        """One update of every learner from columns [learners, B, *] and noise [2, learners, B,
        action_dim]; losses [learners].
        """
        *columns, noise = inputs
        batch = Batch(*columns)
        if self.phase == "distillation":
            loss = distillation_loss(self._policy(self.mask), batch.observation)
            self._step_weights(loss.sum())
            return {"distillation_loss": loss.detach()}
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
        return losses(critic, actor, temperature, log_prob)

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
        for i, learner in enumerate(self.learners):
            # views made here and forgotten here: a graph that is captured must meet no older ones
            own = {
                k: unpadded(self.weights[k][i], p.shape) for k, p in learner.sub.weights().items()
            }
            penalty = learner.protection.penalty(own, learner.sub.memory)
            total = total if penalty is None else total + penalty
        gradients = torch.autograd.grad(total, self.actor.parameters)
        self.actor.step([g.masked_fill(fixed, 0.0) for g, fixed in zip(gradients, self.fixed)])
        if self.averages:
            # from the tensor that counts the steps, so that a graph counts along
            steps = self.actor.adam.count.to(self.averages[0].dtype)
            latest = 10.0 / (steps + 10.0)
            weight = latest.clamp(min=1.0 - self.settings.actor_average)
            average_(self.averages, self.actor.parameters, weight)

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

    def _fixed(self) -> list[list[Tensor]]:
        """Per learner and parameter of its policy, true where it may not step."""
        return [
            [
                x.sub.fixed.get(name, torch.zeros_like(weight, dtype=torch.bool))
                for name, weight in x.sub.weights().items()
            ]
            for x in self.learners
        ]

    @torch.no_grad()
    def _write_back(self) -> None:
        """Gives the learners what they have become."""
        for stacked, own in self._optimisers():
            stacked.write_back(own)
        write_back(self.targets, self._targets())
        if self.averages:
            write_back(self.averages, [x.sub.average for x in self.learners])


class StackedAdam:
    """One Adam for the parameters of several, which are copied until `write_back`.

    Args:
        optimisers: after equally many steps.
    """

    def __init__(self, optimisers: Sequence[Adam]) -> None:
        shared = [stack(same) for same in zip(*(x.parameters for x in optimisers))]
        self.parameters = [parameter.requires_grad_() for parameter in shared]
        self.adam = Adam(self.parameters, optimisers[0].learning_rate)
        self.step = self.adam.step
        self.load(optimisers)

    def is_current(self, optimisers: Sequence[Adam]) -> bool:
        """Whether these are the ones that were loaded, after the steps that were made here."""
        steps = self.adam.steps
        return all(a is b and a.steps == steps for a, b in zip(self.optimisers, optimisers))

    @torch.no_grad()
    def load(self, optimisers: Sequence[Adam]) -> None:
        """Copies parameters, moments and steps of optimisers of the same or smaller shapes."""
        self.optimisers = optimisers
        for into, same in zip(self._tensors(self.adam), zip(*map(self._tensors, optimisers))):
            stack(same, into)
        self.adam.count_from(optimisers[0].steps)

    @torch.no_grad()
    def write_back(self, optimisers: Sequence[Adam]) -> None:
        """Copies parameters, moments and steps to those they came from."""
        self.adam.steps = int(self.adam.count)  # played from a graph, Python has not counted them
        write_back(self._tensors(self.adam), list(map(self._tensors, optimisers)))
        for optimiser in optimisers:
            optimiser.count_from(self.adam.steps)

    @staticmethod
    def _tensors(adam: Adam) -> list[Tensor]:
        return [*adam.parameters, *chain(*adam.moments.values())]


def stack(tensors: Sequence[Tensor], into: Tensor | None = None) -> Tensor:
    """Tensors that differ in sizes as one, [n, *], padded with zeros at the ends.

    Args:
        tensors: of equally many dimensions.
        into: to be overwritten with the result; may be larger.
    """
    largest = [max(sizes) for sizes in zip(*(t.shape for t in tensors))]
    shape = largest if into is None else into.shape[1:]
    padded = [t if t.shape == torch.Size(shape) else pad(t, shape) for t in tensors]
    return torch.stack(padded) if into is None else torch.stack(padded, out=into)


def write_back(stacked: Sequence[Tensor], tensors: Sequence[Sequence[Tensor]]) -> None:
    """Copies what `stack` made, of several, to each of those it came from, [n][several]."""
    into = [tensor for own in tensors for tensor in own]
    parts = [unpadded(a[i], b.shape) for i, own in enumerate(tensors) for a, b in zip(stacked, own)]
    torch._foreach_copy_(into, parts)
