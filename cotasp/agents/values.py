"""The value side of soft actor-critic: twin critics, their targets, and the temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cotasp.agents.losses import Policy, temperature_gradient
from cotasp.errors import calling
from cotasp.methods.adam import Adam
from cotasp.methods.batch import Batch
from cotasp.modules.ensembles import bind

if TYPE_CHECKING:
    from cotasp.agents.sac import SAC
    from cotasp.methods.problem import Problem


class Values:
    """Critics, target critics and temperature, each with its optimiser, freshly initialised.

    Args:
        settings: sizes and rates.
        problem: sizes and device.
    """

    def __init__(self, settings: SAC, problem: Problem) -> None:
        self.settings = settings
        sizes = problem.observation_dim, problem.action_dim
        with calling("critic", settings.critic):
            self.critics = settings.critic.build(*sizes).to(problem.device)
            self.targets = settings.critic.build(*sizes).to(problem.device).requires_grad_(False)
            self.targets.load_state_dict(self.critics.state_dict())
            rows = (torch.zeros(3, size, device=problem.device) for size in sizes)
            bind(self.critics).values(*rows)  # what cannot work fails now, not after a warm-up
        self._weights: list[Tensor] = list(self.critics.parameters())
        self._target_weights: list[Tensor] = list(self.targets.parameters())
        self.ensemble = bind(self.critics)
        self.target_ensemble = bind(self.targets)
        initial = math.log(settings.initial_temperature)
        self.log_temperature = torch.tensor(initial, device=problem.device)
        entropy = settings.target_entropy
        self.target_entropy = -float(problem.action_dim) if entropy is None else entropy
        self.new_optimisers()

    def new_optimisers(self) -> None:
        """Forgets the optimisers' moments."""
        rate = self.settings.learning_rate
        self.critic_optimiser = Adam(self._weights, rate)
        self.temperature_optimiser = Adam([self.log_temperature], rate)

    @property
    def temperature(self) -> Tensor:
        """alpha, scalar, without gradient."""
        return self.log_temperature.exp()

    def step_critics(
        self, critic_loss: Callable, policy: Policy, batch: Batch, noise: Tensor
    ) -> Tensor:
        """One step of the critics down `cotasp.agents.losses.critic_loss`, or what computes the
        same; returns their loss.
        """
        loss, gradients = critic_loss(
            self.ensemble,
            self.target_ensemble,
            policy,
            batch,
            self.temperature,
            noise,
            self.settings.ensemble,
        )
        self.critic_optimiser.step(gradients)
        return loss

    def step_temperature(self, log_prob: Tensor) -> None:
        """One step of the temperature towards the target entropy."""
        gradient = temperature_gradient(log_prob, self.target_entropy)
        self.temperature_optimiser.step([gradient])

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the targets a step of size tau towards the critics."""
        torch._foreach_lerp_(self._target_weights, self._weights, self.settings.tau)

    def state_dict(self) -> dict[str, Any]:
        """Networks, temperature and optimisers."""
        return {
            "critics": self.critics.state_dict(),
            "targets": self.targets.state_dict(),
            "log_temperature": self.log_temperature,
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "temperature_optimiser": self.temperature_optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.critics.load_state_dict(state["critics"])
        self.targets.load_state_dict(state["targets"])
        self.log_temperature.copy_(state["log_temperature"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])
        self.temperature_optimiser.load_state_dict(state["temperature_optimiser"])
