"""The scores of the task in training: the numbers by which it chooses weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from cotasp.errors import component_errors, refuse_returned
from cotasp.methods.adam import Adam
from cotasp.methods.averaging import average_, averaging_weight
from cotasp.modules.mask_capabilities import Scored
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.returned import wrong_tensor
from cotasp.storage.tensors import check_shapes


def scored_weights(policy: MetaPolicy) -> dict[str, Tensor]:
    """The weight matrices that tasks share, by parameter's name."""
    return {
        name: weight.detach()
        for name, weight in policy.named_parameters()
        if weight.ndim == 2 and policy.is_shared(name)
    }


class TaskScores:
    """Scores of weights, with their optimiser and the multipliers that they stand for.

    Args:
        mask: who gives both.
        weights: that are scored, by parameter's name.
        kept: what the task chose when it ended before, by name; empty: it is new.
        learning_rate: Adam's.
        decay: of the scores' running average, which the task is judged by; 0: there is none.
        generator: random numbers of the task's beginning.
    """

    def __init__(
        self,
        mask: Scored,
        weights: Mapping[str, Tensor],
        kept: Mapping[str, Tensor],
        learning_rate: float,
        decay: float,
        generator: Generator,
    ) -> None:
        self.mask = mask
        self.parameters = {}
        for name, weight in weights.items():
            with component_errors("mask", mask):
                scores = mask.first_scores(weight, kept.get(name), generator)
            self._check("first_scores", scores, weight)
            self.parameters[name] = nn.Parameter(scores)
        self.decay = decay
        self.averages = [p.detach().clone() for p in self.tensors if decay]
        self.optimiser = Adam(self.tensors, learning_rate)
        self._multipliers: dict[str, Tensor] = {}

    @property
    def tensors(self) -> list[nn.Parameter]:
        """All scores."""
        return list(self.parameters.values())

    def multipliers(self) -> Mapping[str, Tensor]:
        """What multiplies the weights now, by parameter's name, attached to the scores."""
        if not self._multipliers:
            with torch.enable_grad():
                self._multipliers = self._of(self.parameters)
        return self._multipliers

    def _of(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with component_errors("mask", self.mask):
            multipliers = {name: self.mask.multiplier(each) for name, each in scores.items()}
        for name, multiplier in multipliers.items():
            self._check("multiplier", multiplier, scores[name])
        return multipliers

    def _check(self, method: str, returned: Any, weight: Tensor) -> None:
        wrong = wrong_tensor(returned, weight.shape, weight.dtype)
        refuse_returned("mask", self.mask, method, "an entry per weight, of its type", wrong)

    @torch.no_grad()
    def final(self) -> dict[str, Tensor]:
        """The choice that the task would keep if it ended now, bool by parameter's name."""
        scores = self.averages or [p.detach() for p in self.tensors]
        return {k: m > 0 for k, m in self._of(dict(zip(self.parameters, scores))).items()}

    def step(self, slopes: Sequence[Tensor]) -> None:
        """One step down gradients, in the order of `tensors`."""
        self.optimiser.step(slopes)
        weight = averaging_weight(self.decay, self.optimiser.steps)
        average_(self.averages, self.optimiser.parameters, weight)
        self._multipliers = {}

    def state_dict(self) -> dict[str, Any]:
        """Scores, their averages and moments."""
        return {
            "values": {name: p.detach() for name, p in self.parameters.items()},
            "averages": dict(zip(self.parameters, self.averages)),
            "optimiser": self.optimiser.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave.

        Raises:
            RunError: it is of other weights.
        """
        shapes = {name: p.shape for name, p in self.parameters.items()}
        check_shapes("scores", state["values"], shapes)
        check_shapes("averages of scores", state["averages"], shapes if self.decay else {})
        for name, parameter in self.parameters.items():
            parameter.copy_(state["values"][name])
        for name, average in zip(self.parameters, self.averages):
            average.copy_(state["averages"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self._multipliers = {}
