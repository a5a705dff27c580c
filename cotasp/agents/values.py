"""The value side of an actor-critic: critics, their targets, and numbers learned beside them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cotasp.agents.compiled import PLAIN, LossFunctions
from cotasp.errors import RecipeError, component_errors
from cotasp.methods.adam import Adam, Steps
from cotasp.methods.batch import Batch
from cotasp.methods.problem import Problem
from cotasp.modules.ensembles import Headed, bind, fit
from cotasp.modules.specs import Critic


class Values:
    """Critics, target critics and numbers, each with its optimiser, freshly initialised.

    Args:
        problem: sizes and device.
        critic: family and shape.
        learning_rate: of Adam.
        numbers: by name, such as the logarithm of SAC's temperature.
    """

    def __init__(
        self, problem: Problem, critic: Critic, learning_rate: float, numbers: Mapping[str, float]
    ) -> None:
        self.learning_rate = learning_rate
        self._device = torch.device(problem.device)
        sizes = problem.observation_dim, problem.action_dim
        with component_errors("critic", critic):
            self.network = critic.build(*sizes).to(problem.device)
            self.target_network = critic.build(*sizes).to(problem.device).requires_grad_(False)
            self.target_network.load_state_dict(self.network.state_dict())
            rows = (torch.zeros(3, size, device=problem.device) for size in sizes)
            bind(self.network).values(*rows)  # what cannot work fails now, not after a warm-up
        self.critics, self.targets = bind(self.network), bind(self.target_network)
        self.target_weights: list[Tensor] = list(self.target_network.parameters())
        self.names = tuple(numbers)
        self.initial = dict(numbers)
        self._numbers = [torch.tensor(x, device=problem.device) for x in numbers.values()]
        self._fresh = partial(critic.build, *sizes)
        self.heads: dict[str, dict[str, Tensor]] = {}  # last layers of finished tasks, and numbers
        self.compute: LossFunctions = PLAIN  # of the updates under way
        self.new_optimisers()

    def new_optimisers(self) -> None:
        """Forgets the optimisers' moments."""
        self.critic_optimiser: Steps = Adam(self.network.parameters(), self.learning_rate)
        self.number_optimiser: Steps | None = (
            Adam(self._numbers, self.learning_rate) if self.names else None
        )

    @torch.no_grad()
    def take_head(self, task: int) -> None:
        """Begins a task with a last layer and numbers of its own: new ones, or those it had.

        Raises:
            RecipeError: critics that do not say which of their parameters these are.
        """
        names = self._head_names()
        fresh: dict[str, Tensor] = dict(self._fresh().named_parameters())
        new = {f"critics.{k}": fresh[k] for k in names} | {f"targets.{k}": fresh[k] for k in names}
        new |= {name: torch.tensor(x) for name, x in self.initial.items()}
        head = self.heads.get(str(task), new)
        for name, value in self._head().items():
            value.copy_(head[name])

    def keep_head(self, task: int) -> None:
        """Keeps the last layer and numbers of a task that has ended."""
        self.heads[str(task)] = {name: value.clone() for name, value in self._head().items()}

    def _head_names(self) -> list[str]:
        if not isinstance(self.network, Headed):
            raise RecipeError(
                f"recipe.agent.values.heads: expected shared, for {type(self.network).__name__} "
                f"does not say which parameters are its last layer's; give it a method head_names"
            )
        return self.network.head_names()

    def _head(self) -> dict[str, Tensor]:
        networks = {"critics": self.network, "targets": self.target_network}
        weights = {
            f"{which}.{name}": network.get_parameter(name).detach()
            for which, network in networks.items()
            for name in self._head_names()
        }
        return weights | dict(zip(self.names, self._numbers))

    @property
    def optimisers(self) -> list[Adam]:
        """The critics', and the numbers' if there are any."""
        both = self.critic_optimiser, self.number_optimiser
        return [adam for adam in both if isinstance(adam, Adam)]

    def of(self, optimisers: Sequence[Steps], targets: list[Tensor]) -> Values:
        """The same with other tensors: those that optimisers step, in the order of `optimisers`,
        and target weights; all [n, *] for n stacked ones.
        """
        other = copy.copy(self)
        other.critic_optimiser = optimisers[0]
        other.number_optimiser = optimisers[1] if self.names else None
        other.critics = bind(self.network, optimisers[0].parameters)
        other.targets = bind(self.network, targets)
        other.target_weights = targets
        return other

    @property
    def steps(self) -> int:
        """Steps that the critics have taken since `new_optimisers`."""
        return self.critic_optimiser.steps

    def number(self, name: str) -> Tensor:
        """One of the numbers, [*], without gradient."""
        adam = self.number_optimiser
        return adam.parameters[self.names.index(name)].detach()  # type: ignore[union-attr]

    def fit(self, batch: Batch, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The loss [*] of the critics against targets [*, B], and its gradients in the order of
        their parameters; critics that follow their targets (PopArt) do so first.
        """
        return fit(self.critics, batch.observation, batch.action, target)

    def step_critics(self, gradients: Sequence[Tensor]) -> None:
        """One step of the critics down gradients in the order of their parameters."""
        self.critic_optimiser.step(gradients)

    def step_numbers(self, gradients: Mapping[str, Tensor]) -> None:
        """One step of all the numbers down gradients [*]."""
        self.number_optimiser.step([gradients[k] for k in self.names])  # type: ignore[union-attr]

    @torch.no_grad()
    def move_targets(self, tau: float) -> None:
        """Moves the targets a step of size tau towards the critics (soft update)."""
        torch._foreach_lerp_(self.target_weights, self.critic_optimiser.parameters, tau)

    def named_parameters(self) -> dict[str, Tensor]:
        """Weights of the critics and numbers, by name."""
        weights = {f"critics.{k}": p for k, p in self.network.named_parameters()}
        return weights | dict(zip(self.names, self._numbers))

    def state_dict(self) -> dict[str, Any]:
        """Networks, numbers and optimisers."""
        return {
            "critics": self.network.state_dict(),
            "targets": self.target_network.state_dict(),
            "numbers": dict(zip(self.names, self._numbers)),
            "optimisers": {str(i): adam.state_dict() for i, adam in enumerate(self.optimisers)},
            "heads": self.heads,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.network.load_state_dict(state["critics"])
        self.target_network.load_state_dict(state["targets"])
        for name, number in zip(self.names, self._numbers):
            number.copy_(state["numbers"][name])
        for i, adam in enumerate(self.optimisers):
            adam.load_state_dict(state["optimisers"][str(i)])
        self.heads = {
            task: {name: value.to(self._device, copy=True) for name, value in head.items()}
            for task, head in state["heads"].items()
        }
