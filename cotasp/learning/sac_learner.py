"""Continual soft actor-critic: the learner that `SAC` makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from cotasp.errors import RecipeError, RunError
from cotasp.learning.acting import ActingPolicy
from cotasp.learning.agent import Method, Problem
from cotasp.learning.allocation import allocation_facts
from cotasp.learning.losses import Batch, actor_loss, distillation_loss
from cotasp.learning.precision import product_precision
from cotasp.learning.protections import STATES
from cotasp.learning.replay import Replay
from cotasp.learning.subpolicy import SubPolicy
from cotasp.learning.values import Values
from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.subnetwork import active_units, extract
from cotasp.modules.tensordict import LayerMasks
from cotasp.prompting.prompter import Prompter

if TYPE_CHECKING:
    from cotasp.learning.sac import SAC

ANNEAL_EVERY = 100  # updates after which a smooth mask follows the progress of its task


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
        self.embeddings = method.encoder(problem.texts)
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
            self.meta_policy, settings.learning_rate, settings.execution == "compact"
        )
        self.acting = ActingPolicy(problem.action_dim, self.device)
        self._behaviour = TensorDictModule(self.acting, ["observation"], ["action"])
        self.task = -1
        self.values = Values(settings, problem)
        self.replay: Replay | None = None
        self._check_settings(method.dictionary.lmbda)

    def _check_settings(self, lmbda: float) -> None:
        """Finds before anything is trained what could only end badly."""
        warmup, steps = self.settings.warmup_steps, self.problem.steps_per_task
        if warmup >= steps:
            raise RecipeError(
                f"recipe.agent.warmup_steps: expected fewer than the {steps} steps_per_task, got "
                f"{warmup}: nothing would be learned; warm up less or train longer"
            )
        masks = self.prompt_mask(self.embeddings)
        for task, mask in enumerate(masks):
            try:
                self._check_sub_network(task, mask)
            except RunError as error:
                raise RecipeError(
                    f"recipe.dictionary.lmbda: {lmbda:g} is too large, or the mask policy's "
                    f"threshold: {error}"
                ) from error

    # -- the task's beginning -------------------------------------------------------------

    def start_task(self, task: int) -> dict[str, float]:
        self.task = task
        with torch.no_grad():
            self.codes[task] = self.prompter(self.embeddings[task]).to(self.device)
        self.code = nn.Parameter(self.codes[task].clone())
        self.code_optimiser = torch.optim.Adam([self.code], lr=self.settings.code_learning_rate)
        self._check_sub_network(task, self.final_mask())
        self.steps = self.updates = 0
        self.guard = self.protection.guard(self.meta_policy, self.ownership)
        facts = self._distill() if task > 0 and self.settings.distillation_updates else {}
        self.sub.begin_task(self.guard, self.memory)
        if self.settings.reset_critic:
            self.values = Values(self.settings, self.problem)
        else:
            self.values.new_optimisers()
        self.replay = Replay(self.settings, self.problem, task)
        self.phase = ""
        self._begin_phase("theta")
        self._begin_acting()
        active = self.final_mask().split(self.meta_policy.hidden)
        return facts | {f"active/layer{i}": float(m.mean()) for i, m in enumerate(active, start=1)}

    def _check_sub_network(self, task: int, mask: Tensor) -> None:
        try:
            active_units(mask, self.meta_policy.hidden)
        except RunError as error:
            raise RunError(f"task {task} ({self.problem.texts[task]!r}): {error}") from error

    def _distill(self) -> dict[str, float]:
        """Random policy distillation on the previous task's states, by a throw-away optimiser."""
        if self.replay is None:
            return {}
        self.sub.begin_task(self.guard, self.memory)
        self.sub.cut(self.mask().detach())
        loss = torch.zeros(())
        for _ in range(self.settings.distillation_updates):
            loss = distillation_loss(self.sub, self.replay.sample().observation)
            self._step_weights(loss)
        self.sub.write_back()
        self._check_finite("distillation_loss", loss.detach())
        return {"distillation_loss": float(loss.detach())}

    # -- collecting -------------------------------------------------------------------------

    def behaviour(self) -> TensorDictModule:
        return self._behaviour

    def _begin_acting(self) -> None:
        """Warm-up acts at random or by earlier prompts."""
        finished = self.ownership.masks[self.ownership.finished].float()
        if self.settings.warmup_steps == 0:
            self.acting.act_by(self.sub)
        elif self.settings.warmup == "uniform" or not len(finished):
            self.acting.act_uniformly()
        else:
            self.acting.act_by(*(extract(self.meta_policy, mask) for mask in finished))

    # -- learning ---------------------------------------------------------------------------

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        data = data.reshape(-1)
        before, warming_up = self._updates_due(), self.steps < self.settings.warmup_steps
        self.replay.extend(data)
        self.steps += len(data)
        losses: dict[str, Any] = {}
        with product_precision(self.settings.precision):
            for _ in range(self._updates_due() - before):
                losses = self.update(self.replay.sample())
        if warming_up and self.steps >= self.settings.warmup_steps:
            self.acting.act_by(self.sub)
        return losses

    def _updates_due(self) -> int:
        trained = max(0, self.steps - self.settings.warmup_steps)
        return int(trained * self.settings.updates_per_step)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One update: critic, actor (weights or code) with the new critic, temperature.

        Raises:
            RunError: a loss is not finite.
        """
        cycle = self.settings.theta_updates + self.settings.code_updates
        theta = self.updates % cycle < self.settings.theta_updates
        self._begin_phase("theta" if theta else "code")
        noise = torch.randn(2, *batch.action.shape, device=self.device)
        temperature = self.values.temperature
        critic = self.values.step_critics(self.sub, batch, noise[0])
        step = self._step_theta if theta else self._step_code
        actor, log_prob = step(batch.observation, temperature, noise[1])
        self.values.step_temperature(log_prob)
        self.values.follow()
        self.updates += 1
        losses = {"critic_loss": critic, "actor_loss": actor.detach()}
        for name, value in losses.items():
            self._check_finite(name, value)
        return losses | {"temperature": temperature, "entropy": -log_prob.mean()}

    def _step_theta(
        self, observation: Tensor, temperature: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        loss, log_prob = actor_loss(self.values.critics, self.sub, observation, temperature, noise)
        self._step_weights(loss)
        return loss, log_prob

    def _step_weights(self, loss: Tensor) -> None:
        penalty = self.protection.penalty(self.sub.weights(), self.sub.memory)
        self.sub.step(loss if penalty is None else loss + penalty)

    def _check_finite(self, name: str, value: Tensor) -> None:
        if not torch.isfinite(value):
            raise RunError(
                f"{name} is {float(value)} at update {self.updates}; lower learning_rate or "
                f"reward_scale, or check the environment's rewards"
            )

    def _step_code(
        self, observation: Tensor, temperature: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        mask = self.sub.select(self.mask())

        def policy(x: Tensor) -> tuple[Tensor, Tensor]:
            return self.sub(x, mask)

        loss, log_prob = actor_loss(self.values.critics, policy, observation, temperature, noise)
        if mask.requires_grad:
            (self.code.grad,) = torch.autograd.grad(loss, [self.code])
            before = self.code.detach().clone()
            self.code_optimiser.step()
            self._keep_a_unit_per_layer(before)
        return loss, log_prob

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
        mask = self.final_mask()
        self._check_sub_network(self.task, mask)
        self.codes[self.task] = self.code.detach()
        self.ownership.claim(self.task, mask)
        states = self.replay.sample(STATES).observation
        self.memory = self.protection.remember(self.meta_policy, mask, states, self.memory)
        report = self.prompter.end_task(self.embeddings[self.task], self.code.detach().cpu())
        owned = self.ownership.owned.split(self.meta_policy.hidden)
        facts = {f"dictionary/{name}": value for name, value in report.items()} | {
            f"owned/layer{i}": float(units.float().mean()) for i, units in enumerate(owned, 1)
        }
        return facts | {"updates": float(self.updates)}

    def policy(self, task: int) -> TensorDictModule:
        if self.task >= 0 and not self.ownership.finished[self.task]:
            self.sub.write_back()  # without protection, other tasks' policies train along
        if self.ownership.finished[task]:
            mask = self.ownership.masks[task].float()
        elif task == self.task:
            mask = self.final_mask()
        else:
            mask = self.prompt_mask(self.embeddings[task])
        acting = ActingPolicy(self.problem.action_dim, self.device)
        acting.act_by(extract(self.meta_policy, mask))
        return TensorDictModule(acting, ["observation"], ["action"])

    def prompt_mask(self, embedding: Tensor) -> Tensor:
        """The mask [sum(hidden)] that an embedding [m] alone gives, from today's dictionaries."""
        return self.masks(self.prompter(embedding).to(self.device))

    # -- facts and state ------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        return allocation_facts(self.ownership, self.embeddings, self.meta_policy.hidden)

    def state_dict(self) -> dict[str, Any]:
        """All that acting and protecting need; call it at a task's end.

        Replay buffer, optimisers and random states are not in it.
        """
        return {
            "task": self.task,
            "meta_policy": self.meta_policy.state_dict(),
            "ownership": self.ownership.state_dict(),
            "codes": self.codes,
            "embeddings": self.embeddings,
            "prompter": self.prompter.state_dict(),
            "protection": self.memory,
            "values": self.values.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.task = int(state["task"])
        for name in ("meta_policy", "ownership", "prompter", "values"):
            getattr(self, name).load_state_dict(state[name])
        self.codes.copy_(state["codes"])
        self.embeddings.copy_(state["embeddings"])
        self.memory = {k: dict(v) for k, v in state["protection"].items()}
