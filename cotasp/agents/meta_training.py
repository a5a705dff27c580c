"""Meta-training under way: the start, its step sizes and their optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from cotasp.agents.checks import check_losses
from cotasp.agents.experience import Experience, sample_rows
from cotasp.agents.meta_learning import PolicyAt, Skilled, Transitions, Weights, meta_loss
from cotasp.agents.meta_settings import MetaLearning
from cotasp.methods.adam import Adam

_SMOOTHING = 0.98  # of the loss that is reported


class MetaTraining:
    """Learns theta and alpha from what is kept of finished tasks.

    Args:
        settings: how.
        policy: the policy, as a function of its weights.
        start: theta, to begin with.
        step_sizes: alpha, to begin with, of the weights that adapt; the others are left alone.
        experience, skilled: of the finished tasks.
        seed: of what is drawn.
        anew: of a task's number, the start's weights and the updates made, rows [n] that the start
            takes there, on its device; None: no environment is touched.
    """

    def __init__(
        self,
        settings: MetaLearning,
        policy: PolicyAt,
        start: Mapping[str, Tensor],
        step_sizes: Mapping[str, Tensor],
        experience: Sequence[Experience],
        skilled: Sequence[Skilled],
        seed: int,
        anew: Callable[[int, Weights, int], Transitions] | None = None,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.experience = experience
        self.skilled = skilled
        self.anew = anew
        self.revisited: list[Transitions] = []  # of finished tasks, until they have served
        self.generator = Generator().manual_seed(seed)
        learns = step_sizes if settings.learn_step_sizes and settings.inner_steps else {}
        self.start = {
            k: w.detach().clone().requires_grad_(k in step_sizes) for k, w in start.items()
        }
        self.step_sizes = {
            k: a.detach().clone().requires_grad_(k in learns) for k, a in step_sizes.items()
        }
        both = (*self.start.values(), *self.step_sizes.values())
        self._learned = [tensor for tensor in both if tensor.requires_grad]
        self.optimiser = Adam(self._learned, settings.learning_rate)
        self.loss = 0.0  # a running mean
        self.first_loss = 0.0

    @property
    def updates(self) -> int:
        """Made so far."""
        return self.optimiser.steps

    def revisit(self) -> bool:
        """Takes rows anew in the next finished task where that is due; whether it was.

        Raises:
            RunError: its environment fails.
        """
        task = len(self.revisited)
        if self.anew is None or task == len(self.skilled):
            return False
        start = {name: weight.detach() for name, weight in self.start.items()}
        self.revisited.append(self.anew(task, start, self.updates))
        return True

    def update(self) -> None:
        """One step of theta and alpha down the mean outer loss.

        Raises:
            RunError: the loss is not finite.
        """
        settings = self.settings
        rows, skilled = self._drawn()
        loss = meta_loss(
            self.policy,
            self.start,
            self.step_sizes,
            rows,
            skilled,
            settings.weight_clip,
            settings.order,
            settings.outer,
        )
        check_losses({"outer_loss": loss.detach()[None]}, self.updates)
        gradients = torch.autograd.grad(loss, self._learned, materialize_grads=True)
        self.optimiser.step(gradients)
        if self.updates % settings.anew_every == 0:
            self.revisited = []
        value = float(loss.detach())
        if self.updates == 1:
            self.first_loss = value
        weight = max(1.0 - _SMOOTHING, 1.0 / self.updates)
        self.loss += weight * (value - self.loss)

    def _drawn(self) -> tuple[Transitions, Skilled]:
        settings, tasks = self.settings, list(range(len(self.experience)))
        if settings.tasks_per_update is not None and settings.tasks_per_update < len(tasks):
            order = torch.randperm(len(tasks), generator=self.generator)
            tasks = sorted(order[: settings.tasks_per_update].tolist())
        size = settings.inner_steps, settings.batch_size
        device = next(iter(self.start.values())).device
        inner, outer = [], []
        for j in tasks:
            if self.anew is None:
                inner.append(self.experience[j].sample(size, self.generator))
            else:
                inner.append(sample_rows(self.revisited[j], size, self.generator))
            skilled = self.skilled[j]
            shape = (settings.batch_size,)
            places = torch.randint(len(skilled.raw_action), shape, generator=self.generator)
            outer.append(Skilled(*(column[places] for column in skilled)))
        return (
            Transitions(*(torch.stack(columns).to(device) for columns in zip(*inner))),
            Skilled(*(torch.stack(columns).to(device) for columns in zip(*outer))),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything but what is kept of tasks."""
        return {
            "start": dict(self.start),
            "step_sizes": dict(self.step_sizes),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "revisited": [rows._asdict() for rows in self.revisited],
            "loss": self.loss,
            "first_loss": self.first_loss,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        with torch.no_grad():
            for mine, name in ((self.start, "start"), (self.step_sizes, "step_sizes")):
                for key, tensor in mine.items():
                    tensor.copy_(state[name][key])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.revisited = [Transitions(**rows) for rows in state["revisited"]]
        self.loss, self.first_loss = float(state["loss"]), float(state["first_loss"])
