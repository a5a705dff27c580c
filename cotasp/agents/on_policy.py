"""The life of an on-policy learner: a batch, its advantages, some epochs, and the next batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Generator, Tensor, nn
from torchrl.modules import MLP

from cotasp.agents.acting import ActingPolicy, SampledBehaviour, on_cpu
from cotasp.agents.checks import check_losses, check_parameters
from cotasp.agents.on_policy_settings import OnPolicy
from cotasp.agents.rollout import (
    Rollout,
    Steps,
    advantages,
    clipped_loss,
    entropy,
    log_density,
    standardised,
)
from cotasp.methods.actor import ContinualActor
from cotasp.methods.adam import Adam
from cotasp.methods.batch import Batch
from cotasp.methods.memory import check_memory_unused
from cotasp.methods.method import Method
from cotasp.methods.multistep import fitted_discount
from cotasp.methods.problem import Problem
from cotasp.methods.trained import ActorRates, LossRows
from cotasp.modules.policy import MetaPolicy, Policy


class OnPolicyLearner:
    """Trains a `ContinualActor` by PPO, on the transitions of its latest policy alone.

    Args:
        settings: the agent.
        problem: the stream.
        method: allocation and protection.

    Raises:
        RecipeError: a protection asks for old rows, which are not kept here.
    """

    def __init__(self, settings: OnPolicy, problem: Problem, method: Method) -> None:
        check_memory_unused(method.memory, method.protections, type(settings).__name__)
        self.settings = settings
        self.problem = problem
        self.device = torch.device(problem.device)
        rates = ActorRates(
            settings.learning_rate,
            settings.code_learning_rate,
            settings.execution == "compact",
            clip=settings.clip,
        )
        self.actor = ContinualActor(problem, method, rates)
        self.acting = SampledBehaviour()
        self._behaviour = TensorDictModule(self.acting, ["observation"], ["action", "raw_action"])
        self.gamma = fitted_discount(problem) if settings.gamma is None else settings.gamma
        self.generator = Generator()  # of minibatches
        self.steps = self.updates = 0  # of the task in training
        # of the latest batch, for the task's end
        self.latest: Batch | None = None
        self.rollout: Rollout | None = None
        self._new_value()

    def _new_value(self) -> None:
        settings = self.settings
        self.value = MLP(
            self.problem.observation_dim,
            1,
            num_cells=list(settings.value_hidden),
            activation_class=nn.Tanh,
            device=self.device,
        )
        self._new_value_optimiser()

    def _new_value_optimiser(self) -> None:
        self.value_optimiser = Adam(self.value.parameters(), self.settings.value_learning_rate)

    # -- the task's beginning -------------------------------------------------------------

    def start_task(self, task: int) -> dict[str, float]:
        facts = self.actor.begin_task(self.problem.owner(task))
        self.steps = self.updates = 0
        self.latest = None
        self.generator.manual_seed(self.problem.seed * 10_007 + task)
        if self.settings.value_start == "fresh" and task:
            self._new_value()
        else:
            self._new_value_optimiser()
        self.actor.train("weights", 0.0, anew=True)
        whole, std = self.settings.start == "fresh", self.settings.reset_std
        if task and (whole or std) and not self.actor.returns:
            drawn = self.drawn_weights(self.generator)
            head = {name: w for name, w in drawn.items() if name.startswith("log_std")}
            self.begin_with(drawn if whole else head)
        self.begin_acting()
        return facts

    def drawn_weights(self, generator: Generator) -> dict[str, Tensor]:
        """Initial values of the weights in training, by name."""
        policy = self.actor.meta_policy
        drawn = {name: policy.drawn(name, generator) for name, _ in policy.named_parameters()}
        return self.actor.sub.gathered(drawn)

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Gives weights in training new values, where the protection lets them move."""
        self.actor.sub.renew(weights)
        self.begin_acting()

    def behaviour(self) -> TensorDictModule:
        return self._behaviour

    def begin_acting(self) -> None:
        """Lets the behaviour act by the policy as it is now."""
        self.acting.act_by(on_cpu(*self.actor.network_in_training))

    # -- learning ---------------------------------------------------------------------------

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        self.rollout = rollout = self.take(data, fit_first=self.steps == 0)
        losses = self.improve(rollout) | self.fit_value(rollout, self.settings.epochs)
        self.finish_batch()
        return losses

    def take(self, data: TensorDictBase, fit_first: bool) -> Rollout:
        """The rows of a batch, with advantages; its steps are counted.

        Args:
            data: as `learn` takes it.
            fit_first: whether `value_warmup` passes fit the value network before, for it belongs
                to another policy or another reward.
        """
        settings, repeat = self.settings, self.problem.action_repeat
        steps = Steps.of(data.to(self.device), settings.reward_scale / repeat)
        self.steps += data.numel() * repeat
        if fit_first and settings.value_warmup:
            _, target = advantages(steps, self.values, self.gamma, 1.0)
            self._fit(steps.observation.flatten(0, 1), target.flatten(), settings.value_warmup)
        advantage, target = advantages(steps, self.values, self.gamma, settings.gae_lambda)
        flat = [column.flatten(0, 1) for column in steps]
        observation, raw_action, reward, following, terminated, _ = flat
        with torch.no_grad():
            log_prob = log_density(*self.actor.policy(observation), raw_action)
        discount = self.gamma * (~terminated).squeeze(-1)
        action = torch.tanh(raw_action)
        self.latest = Batch(observation, action, reward.squeeze(-1), following, discount)
        every = standardised(advantage).flatten(), target.flatten()
        return Rollout(observation, raw_action, log_prob, *every)

    def values(self, observation: Tensor) -> Tensor:
        """V(s), [*, observation_dim] to [*]."""
        return self.value(observation).squeeze(-1)

    def improve(self, rollout: Rollout) -> dict[str, Tensor]:
        """Steps of weights and code down the clipped loss; the losses of the last one."""
        settings = self.settings
        progress = self.steps / self.problem.steps_per_task
        losses: dict[str, Tensor] = {}
        code_epochs = settings.code_epochs if self.actor.learns_codes else 0
        for phase, epochs in (("weights", settings.epochs), ("code", code_epochs)):
            for i in range(epochs):
                self.actor.train(phase, progress, anew=i == 0)
                for rows in self.minibatches(rollout):
                    losses = self._update(rows, phase)
        self.actor.train("weights", progress)
        return losses

    def minibatches(self, rollout: Rollout) -> Iterator[Rollout]:
        """One pass over the rows, in random order."""
        size = len(rollout.log_prob)
        order = torch.randperm(size, generator=self.generator).to(self.device)
        for places in order.tensor_split(min(self.settings.minibatches, size)):
            yield rollout.rows(places)

    def _update(self, rows: Rollout, phase: str) -> dict[str, Tensor]:
        policy = self.actor.policy_in_training()
        loss, spread, log_ratio = self._losses(policy, rows)
        statistics = {"actor_loss": loss.detach(), "entropy": spread.detach()}
        # 1 - r + r log r >= 0, of which E[.] = KL: Schulman's estimate (r: old to new)
        statistics["kl"] = (log_ratio.exp() - 1 - log_ratio).detach().mean()
        check_losses({"actor_loss": statistics["actor_loss"][None]}, self.updates)

        def of_some(places: Tensor) -> Tensor:
            part, spread, _ = self._losses(policy, rows.rows(places))
            return part - self.settings.entropy * spread

        parts = LossRows(rows.observation, of_some)
        self.actor.step(loss - self.settings.entropy * spread, None, parts)
        self.updates += 1
        if phase == "weights":
            blank = rows.log_prob.new_empty(0)
            self.actor.renew(Batch(rows.observation, rows.raw_action.tanh(), blank, blank, blank))
        return statistics

    def _losses(self, policy: Policy, rows: Rollout) -> tuple[Tensor, Tensor, Tensor]:
        """Of rows: the clipped loss and the mean entropy, scalars, and log pi / pi_old, [B]."""
        loc, scale = policy(rows.observation)
        log_ratio = log_density(loc, scale, rows.raw_action) - rows.log_prob
        loss = clipped_loss(log_ratio, rows.advantage, self.settings.clip_ratio)
        return loss, entropy(scale).mean(), log_ratio

    def fit_value(self, rollout: Rollout, epochs: int) -> dict[str, Tensor]:
        """Steps of the value network; the loss of the last one."""
        loss = self._fit(rollout.observation, rollout.target, epochs)
        return {} if loss is None else {"value_loss": loss}

    def _fit(self, observation: Tensor, target: Tensor, epochs: int) -> Tensor | None:
        loss = None
        weights = list(self.value.parameters())
        for _ in range(epochs):
            order = torch.randperm(len(target), generator=self.generator).to(self.device)
            for places in order.chunk(min(self.settings.minibatches, len(target))):
                error = (self.values(observation[places]) - target[places]).square().mean()
                self.value_optimiser.step(torch.autograd.grad(error, weights))
                loss = error.detach()
        if loss is not None:
            check_losses({"value_loss": loss[None]}, self.updates)
        return loss

    def finish_batch(self) -> None:
        """Sees that all weights are finite, and acts by them from now on."""
        check_parameters(self.actor.named_parameters(), self.updates)
        self.begin_acting()

    # -- the task's end -----------------------------------------------------------------------

    def end_task(self) -> dict[str, float]:
        self.actor.end_weights()
        further = self.actor.prune(self.updates)
        if further:
            self._train_on(further)
        return self.actor.end_task(self._rows) | {"updates": float(self.updates)}

    def _train_on(self, updates: int) -> None:
        """Trains the weights that a mask has kept, on the latest batch."""
        last = self.updates + updates
        self.actor.train("weights", 1.0)
        while self.updates < last:
            for rows in self.minibatches(self.rollout):  # type: ignore[arg-type]  # as below
                if self.updates < last:
                    self._update(rows, "weights")
        self.actor.end_weights()

    def _rows(self, count: int, generator: Generator) -> Batch:
        """Rows of the latest batch: nothing older is kept."""
        latest: Batch = self.latest  # type: ignore[assignment]  # a task has been learned
        places = torch.randint(len(latest.reward), (count,), generator=generator).to(self.device)
        return Batch(*(column[places] for column in latest))

    # -- what was learned -----------------------------------------------------------------------

    def sub_network(self, task: int) -> MetaPolicy:
        return self.actor.sub_network(self.problem.owner(task))

    def policy(self, task: int) -> TensorDictModule:
        policy = on_cpu(self.sub_network(task))
        return TensorDictModule(ActingPolicy(policy), ["observation"], ["action"])

    def prompt_mask(self, embedding: Tensor) -> Tensor:
        """The mask [sum(hidden)] that an embedding [m] alone gives, from today's dictionaries."""
        return self.actor.prompt_mask(embedding)

    def summary(self) -> dict[str, Any]:
        return self.actor.summary()

    # -- state ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "value": self.value.state_dict(),
            "value_optimiser": self.value_optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "steps": self.steps,
            "updates": self.updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])
        self.value.load_state_dict(state["value"])
        self.value_optimiser.load_state_dict(state["value_optimiser"])
        self.generator.set_state(state["generator"])
        self.steps, self.updates = int(state["steps"]), int(state["updates"])
        self.latest = None
        if self.actor.in_training:
            self.begin_acting()
