"""Continual soft actor-critic: the learner that `SAC` makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from cotasp.agents.acting import ActingPolicy, Behaviour, on_cpu
from cotasp.agents.agent import Method
from cotasp.agents.checks import (
    check_first_masks,
    check_losses,
    check_parameters,
    check_sub_network,
    first_update_after,
)
from cotasp.agents.compiled import width_multiple
from cotasp.agents.sac_state import learner_state, load_learner_state
from cotasp.agents.stacked import UpdatesTogether
from cotasp.agents.updates import Draws, Losses, Updater, update_alone
from cotasp.agents.values import Values
from cotasp.errors import calling
from cotasp.methods.adam import Adam
from cotasp.methods.allocation import allocation_facts
from cotasp.methods.problem import Problem
from cotasp.methods.protections import STATES
from cotasp.methods.replay import Replay
from cotasp.methods.subpolicy import SubPolicy
from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.subnetwork import extract
from cotasp.modules.tensordict import LayerMasks
from cotasp.prompting.prompter import Prompter

if TYPE_CHECKING:
    from cotasp.agents.sac import SAC

CHECK_EVERY = 100  # updates between two looks at the parameters; losses are all looked at
ANNEAL_EVERY = 100  # updates after which a smooth mask follows the progress of its task
DISTIL_TOGETHER = 100  # updates of distillation that are drawn for, made and checked together


class SACLearner:
    """Trains weights and codes of one sub-network per task in alternation (CoTASP).

    Args:
        settings: hyper-parameters.
        problem: the stream.
        method: allocation and protection.
    """

    def __init__(self, settings: SAC, problem: Problem, method: Method) -> None:
        self.settings = settings
        self.problem = problem
        self.device = torch.device(problem.device)
        self.protection = method.protection
        with calling("encoder", method.encoder):
            self.embeddings = method.encoder(problem.texts)
            self.phrasings = [method.encoder(texts) for texts in problem.phrasings]
        self.meta_policy: MetaPolicy = method.actor.build(
            problem.observation_dim, problem.action_dim
        ).to(self.device)
        hidden = self.meta_policy.hidden
        self.prompter = Prompter(
            method.dictionary, hidden, method.encoder.dim, seed=problem.seed, data=self.embeddings
        )
        self.masks = LayerMasks(method.mask, hidden)
        self.ownership = Ownership(len(problem.texts), sum(hidden)).to(self.device)
        self.codes = torch.zeros(len(problem.texts), sum(hidden), device=self.device)
        self.memory: dict[str, dict[str, Tensor]] = {}
        self.sub = SubPolicy(
            self.meta_policy,
            settings.learning_rate,
            settings.execution == "compact",
            width_multiple(settings, self.device),
            settings.actor_average,
        )
        self.acting = Behaviour(
            problem.action_dim,
            max(1.0, settings.warmup_hold / problem.action_repeat),
            settings.noise_correlation,
        )
        self._behaviour = TensorDictModule(self.acting, ["observation", "is_init"], ["action"])
        alone = self.device.type != "cuda"
        self.updater: Updater = update_alone if alone else UpdatesTogether().alone
        self.task = -1
        self.values = Values(settings, problem)
        self.replay: Replay | None = None
        masks = self.prompt_mask(self.embeddings)
        check_first_masks(masks, self.prompter, self.masks, self.embeddings, problem)

    # -- the task's beginning -------------------------------------------------------------

    def start_task(self, task: int) -> dict[str, float]:
        self.task = task
        with torch.no_grad():
            self.codes[task] = self.prompter(self.embeddings[task]).to(self.device)
        self.code = nn.Parameter(self.codes[task].clone())
        self.new_code_optimiser()
        self._check_sub_network(self.final_mask())
        self.steps = self.updates = 0
        self.guard = self.protection.guard(self.meta_policy, self.ownership)
        facts = self._distill() if task > 0 and self.settings.distillation_updates else {}
        self.sub.begin_task(self.guard, self.memory)
        if self.settings.reset_critic:
            self.values = Values(self.settings, self.problem)
        else:
            self.values.new_optimisers()
        self.replay = Replay(self.settings.sampling(self.problem), self.problem, task)
        self.phase = ""
        self._begin_phase("theta")
        self.begin_acting()
        active = self.final_mask().split(self.meta_policy.hidden)
        return facts | {f"active/layer{i}": float(m.mean()) for i, m in enumerate(active, start=1)}

    def new_code_optimiser(self) -> None:
        """Forgets the moments of the code."""
        self.code_optimiser = Adam([self.code], self.settings.code_learning_rate)

    @property
    def in_training(self) -> bool:
        """Whether a task has begun and not ended."""
        return self.task >= 0 and not bool(self.ownership.finished[self.task])

    def _check_sub_network(self, mask: Tensor) -> None:
        check_sub_network(mask, self.meta_policy.hidden, self.problem, self.task)

    def _distill(self) -> dict[str, float]:
        """Random policy distillation on the previous task's states, by a throw-away optimiser."""
        if self.replay is None:
            return {}
        self.sub.begin_task(self.guard, self.memory)
        self.sub.cut(self.mask().detach())
        self.phase = "distillation"
        count, made = self.settings.distillation_updates, {}
        for start in range(0, count, DISTIL_TOGETHER):
            made = self._make(min(DISTIL_TOGETHER, count - start), start)
        self.sub.write_back()
        return {"distillation_loss": float(made["distillation_loss"][-1])}

    # -- collecting -------------------------------------------------------------------------

    def behaviour(self) -> TensorDictModule:
        return self._behaviour

    def begin_acting(self) -> None:
        """Acts as the step asks for, with the weights of now: warm-up at random or by earlier
        prompts, then the policy.
        """
        if self.steps >= self.settings.warmup_steps:
            self.acting.act_by(on_cpu(self.sub.network, self.sub.mask))
            return
        finished = self.ownership.masks[self.ownership.finished].float()
        if self.settings.warmup == "uniform" or not len(finished):
            self.acting.act_uniformly()
        else:
            self.acting.act_by(*(on_cpu(extract(self.meta_policy, mask)) for mask in finished))

    # -- learning ---------------------------------------------------------------------------

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        data = data.reshape(-1)
        before, updates = self._updates_due(), self.updates
        self.replay.extend(data)  # type: ignore[union-attr]  # a task has begun
        self.steps += len(data) * self.problem.action_repeat
        losses = self.update(self._updates_due() - before)
        if self.steps >= self.settings.warmup_steps:
            self.begin_acting()
        if self.updates // CHECK_EVERY > updates // CHECK_EVERY:
            check_parameters(self._parameters(), self.updates)
        return losses

    def _updates_due(self) -> int:
        transitions = self.steps // self.problem.action_repeat
        trained = max(0, transitions - first_update_after(self.settings, self.problem))
        return int(trained * self.settings.updates_per_transition)

    def update(self, count: int) -> dict[str, Tensor]:
        """Makes updates; returns the losses of the last one.

        Raises:
            RunError: a loss is not finite; found at the end of its stretch, which is made whole.
        """
        losses: dict[str, Tensor] = {}
        last = self.updates + count
        while self.updates < last:
            until = min(last, self._begin_stretch())
            made = self._make(until - self.updates, self.updates)
            self.updates, losses = until, {name: values[-1] for name, values in made.items()}
        return losses

    def _make(self, count: int, before: int) -> Losses:
        """Makes so many updates of one phase, after so many; checks their losses."""
        made = self.updater(self, self._draws(count))
        check_losses({k: v for k, v in made.items() if k.endswith("_loss")}, before)
        return made

    def _begin_stretch(self) -> int:
        """Begins the phase of the next update; the number of updates when it may end."""
        theta = self.settings.theta_updates
        cycle = theta + self.settings.code_updates
        within = self.updates % cycle
        self._begin_phase("theta" if within < theta else "code")
        self._set_learning_rate()
        phase_end = self.updates - within + (theta if within < theta else cycle)
        return min(phase_end, self.updates - self.updates % ANNEAL_EVERY + ANNEAL_EVERY)

    def _set_learning_rate(self) -> None:
        """Takes the rates down linearly over the second half of the task."""
        left = min(1.0, 2.0 * (1.0 - self.steps / self.problem.steps_per_task))
        final = self.settings.final_learning_rate
        rate = self.settings.learning_rate * (final + (1.0 - final) * left)
        for optimiser in (
            self.sub.optimiser,
            self.values.critic_optimiser,
            self.values.temperature_optimiser,
        ):
            optimiser.learning_rate = rate

    def _draws(self, count: int) -> Draws:
        batches = self.replay.batches(count)  # type: ignore[union-attr]  # a task has begun
        shape = count, 2, *batches.action.shape[1:]
        return Draws(batches, torch.randn(shape, device=self.device))

    def step_weights(self, loss: Tensor) -> None:
        """One guarded step of the weights down a loss and the protection's penalty."""
        penalty = self.protection.penalty(self.sub.weights(), self.sub.memory)
        self.sub.step(loss if penalty is None else loss + penalty)

    def _parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.sub.network.named_parameters("policy")
        yield from self.values.critics.named_parameters("critics")
        yield from (("code", self.code), ("log_temperature", self.values.log_temperature))

    def step_code(self, gradient: Tensor) -> None:
        """One step of the code that leaves every layer a unit."""
        before = self.code.detach().clone()
        self.code_optimiser.step([gradient])
        self._keep_a_unit_per_layer(before)

    def _keep_a_unit_per_layer(self, before: Tensor) -> None:
        """Undoes the step in layers that it would switch off altogether."""
        with torch.no_grad():
            hidden = self.meta_policy.hidden
            layers = zip(*(x.split(hidden) for x in (self.code, self.final_mask(), before)))
            for code, mask, old in layers:
                if not mask.any():
                    code.copy_(old)

    def _begin_phase(self, phase: str) -> None:
        policy = self.masks.policy
        anneals = policy.gradient == "smooth" and self.updates % ANNEAL_EVERY == 0
        if phase == self.phase and not anneals:
            return
        if self.phase:
            self.sub.write_back()
        off_only = policy.local and policy.gradient == "clipped"
        self.sub.cut(self.mask().detach(), full=phase == "code" and not off_only)
        self.phase = phase

    def mask(self) -> Tensor:
        """Mask [sum(hidden)] of the task in training, attached to its code."""
        return self.masks(self.code, self.steps / self.problem.steps_per_task)

    @torch.no_grad()
    def final_mask(self) -> Tensor:
        """The binary mask that the task in training would keep if it ended now."""
        return self.masks(self.code.detach())

    # -- the task's end -----------------------------------------------------------------------

    def end_task(self) -> dict[str, float]:
        self.sub.write_back()
        self.sub.keep_average()
        mask = self.final_mask()
        self._check_sub_network(mask)
        self.codes[self.task] = self.code.detach()
        self.ownership.claim(self.task, mask)
        states = self.replay.sample(STATES).observation  # type: ignore[union-attr]  # a task has begun
        self.memory = self.protection.remember(self.meta_policy, mask, states, self.memory)
        embedding = self.embeddings[self.task]
        if self.phrasings and len(self.phrasings[self.task]):
            embedding = torch.cat([embedding[None], self.phrasings[self.task]])
        report = self.prompter.end_task(embedding, self.code.detach().cpu())
        owned = self.ownership.owned.split(self.meta_policy.hidden)
        facts = {f"dictionary/{name}": value for name, value in report.items()} | {
            f"owned/layer{i}": float(units.float().mean()) for i, units in enumerate(owned, 1)
        }
        return facts | {"updates": float(self.updates)}

    def sub_network(self, task: int) -> MetaPolicy:
        if self.in_training:
            self.sub.write_back()  # without protection, other tasks' policies train along
        if self.ownership.finished[task]:
            mask = self.ownership.masks[task].float()
        elif task == self.task:
            mask = self.final_mask()
        else:
            mask = self.prompt_mask(self.embeddings[task])
        # the task in training is judged by what it would keep
        return extract(self.sub.averaged() if self.in_training else self.meta_policy, mask)

    def policy(self, task: int) -> TensorDictModule:
        acting = ActingPolicy(on_cpu(self.sub_network(task)))
        return TensorDictModule(acting, ["observation"], ["action"])

    def prompt_mask(self, embedding: Tensor) -> Tensor:
        """The mask [sum(hidden)] that an embedding [m] alone gives, from today's dictionaries."""
        return self.masks(self.prompter(embedding).to(self.device))

    # -- facts and state ------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        return allocation_facts(self.ownership, self.embeddings, self.meta_policy.hidden)

    def state_dict(self) -> dict[str, Any]:
        return learner_state(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_learner_state(self, state)
