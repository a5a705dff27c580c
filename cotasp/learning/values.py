"""The value side of soft actor-critic: twin critics, their targets, and the temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cotasp.learning.adam import adam_state, load_adam_state
from cotasp.learning.losses import Batch, Policy, critic_loss, temperature_loss

if TYPE_CHECKING:
    from cotasp.learning.agent import Problem
    from cotasp.learning.sac import SAC


class Values:
    """Critics, target critics and temperature, each with its optimiser, freshly initialised.

    Args:
        settings: sizes and rates.
        problem: sizes and device.
    """

    def __init__(self, settings: SAC, problem: Problem) -> None:
        self.settings = settings
        sizes = problem.observation_dim, problem.action_dim
        self.critics = settings.critic.build(*sizes).to(problem.device)
        self.targets = settings.critic.build(*sizes).to(problem.device).requires_grad_(False)
        self.targets.load_state_dict(self.critics.state_dict())
        initial = math.log(settings.initial_temperature)
        self.log_temperature = nn.Parameter(torch.tensor(initial, device=problem.device))
        entropy = settings.target_entropy
        self.target_entropy = -problem.action_dim / 2 if entropy is None else entropy
        self.new_optimisers()

    def new_optimisers(self) -> None:
        """Forgets the optimisers' moments."""
        rate = self.settings.learning_rate
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=rate, fused=True)
        self.temperature_optimiser = torch.optim.Adam([self.log_temperature], lr=rate)

    @property
    def temperature(self) -> Tensor:
        """alpha, scalar, without gradient."""
        return self.log_temperature.detach().exp()

    def step_critics(self, policy: Policy, batch: Batch, noise: Tensor) -> Tensor:
        """One step of the critics; returns their loss."""
        loss = critic_loss(
            self.critics,
            self.targets,
            policy,
            batch,
            self.temperature,
            self.settings.gamma,
            noise,
        )
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        return loss.detach()

    def step_temperature(self, log_prob: Tensor) -> None:
        """One step of the temperature towards the target entropy."""
        loss = temperature_loss(self.log_temperature, log_prob, self.target_entropy)
        self.temperature_optimiser.zero_grad()
        loss.backward()
        self.temperature_optimiser.step()

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the targets a step of size tau towards the critics."""
        critics, targets = self.critics.parameters(), self.targets.parameters()
        torch._foreach_lerp_(list(targets), list(critics), self.settings.tau)

    def state_dict(self) -> dict[str, Any]:
        """Networks, temperature and optimisers."""
        return {
            "critics": self.critics.state_dict(),
            "targets": self.targets.state_dict(),
            "log_temperature": self.log_temperature.detach(),
            "critic_optimiser": adam_state(self.critic_optimiser),
            "temperature_optimiser": adam_state(self.temperature_optimiser),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.critics.load_state_dict(state["critics"])
        self.targets.load_state_dict(state["targets"])
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
        load_adam_state(self.critic_optimiser, state["critic_optimiser"])
        load_adam_state(self.temperature_optimiser, state["temperature_optimiser"])
