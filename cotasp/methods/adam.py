"""Adam on gradients that are handed over, and what it remembers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from cotasp.storage.tensors import check_shapes

MOMENTS = ("exp_avg", "exp_avg_sq")


class Steps(Protocol):
    """What steps parameters down gradients."""

    parameters: list[Tensor]

    @property
    def steps(self) -> int:
        """Steps taken."""

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step down the gradients, given in the order of the parameters."""


class Adam:
    """PyTorch's fused Adam without what `torch.optim` does around a step.

    At the sizes of a sub-network that costs as much as the step itself.  The kernel is private:
    look here first when a new PyTorch breaks.

    Args:
        parameters: contiguous; changed in place by `step`.
        learning_rate: > 0.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        device = self.parameters[0].device
        # one for all: the kernel only reads it, as float32
        self.count = torch.zeros((), dtype=torch.float32, device=device)
        # a GPU reads the rate too, as it is when the kernel runs: CUDA graphs can be played again
        self._rate = torch.zeros_like(self.count) if device.type == "cuda" else None
        self._learning_rate = 0.0
        self.learning_rate = learning_rate
        self.moments = {key: [torch.zeros_like(p) for p in self.parameters] for key in MOMENTS}
        self.steps = 0

    @property
    def learning_rate(self) -> float:
        """Of the steps to come."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        if self._rate is not None and rate != self._learning_rate:
            self._rate.fill_(rate)
        self._learning_rate = rate

    def count_from(self, steps: int) -> None:
        """Sets the number of steps taken."""
        self.steps = steps
        self.count.fill_(steps)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step down the gradients, given in the order of the parameters."""
        self.steps += 1
        self.count += 1
        torch._fused_adam_(
            self.parameters,
            [gradient.contiguous() for gradient in gradients],  # the kernel reads them as such
            self.moments["exp_avg"],
            self.moments["exp_avg_sq"],
            [],
            [self.count] * len(self.parameters),
            lr=self.learning_rate if self._rate is None else self._rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Steps taken, and the moments by number of the parameter."""
        moments = {k: {str(i): t for i, t in enumerate(v)} for k, v in self.moments.items()}
        return {"steps": self.steps, **moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back, as copies, what `state_dict` gave.

        Raises:
            RunError: of other parameters.  The kernel would read beyond moments that are too short.
        """
        shapes = {str(i): parameter.shape for i, parameter in enumerate(self.parameters)}
        for key, mine in self.moments.items():
            check_shapes(f"optimiser {key}", state[key], shapes)
            for i, moment in enumerate(mine):
                moment.copy_(state[key][str(i)])
        self.count_from(int(state["steps"]))
