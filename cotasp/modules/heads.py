"""What a critic's outputs mean: the values they stand for and the loss they are trained by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Head(Protocol):
    """Values and loss of a network's outputs, with gradients written out."""

    @property
    def outputs(self) -> int:
        """Numbers that the network gives per value, K."""

    def values(self, outputs: Tensor) -> Tensor:
        """Values [*, n, B] of outputs [*, n, B, K]."""

    def values_gradient(self, outputs: Tensor, slope: Tensor) -> Tensor:
        """Gradient of sum(slope * values) by the outputs, [*, n, B, K]; `slope` is [*, n, B]."""

    def loss(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over members of the mean loss [*], and its gradient by the outputs [*, n, B, K].

        Args:
            outputs: [*, n, B, K].
            target: [*, B].
        """


@dataclass(frozen=True)
class SquaredError:
    """One output, which is the value; the loss is the mean squared error.

    Args:
        outputs: that the network has; of several, the caller hands over the one that counts.
    """

    outputs: int = 1

    def values(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(-1)

    def values_gradient(self, outputs: Tensor, slope: Tensor) -> Tensor:
        return slope.unsqueeze(-1)

    def loss(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        error = outputs.squeeze(-1) - target.unsqueeze(-2)
        slope = error * (2.0 / error.shape[-1])
        return error.square().mean(-1).sum(-1), slope.unsqueeze(-1)


PLAIN = SquaredError()


@dataclass(frozen=True)
class HLGauss:
    """A histogram of the value, trained by cross-entropy against a Gaussian around the target.

    The outputs are logits of K bins of equal width between `low` and `high`; the value is the
    expectation over the bins' centres.  The target's mass of bin i, from e_i to e_{i+1}, is

        p_i = (Phi((e_{i+1} - y) / sigma) - Phi((e_i - y) / sigma)) / Z,

    Z so that they sum to 1 (Imani & White 2018, arXiv 1806.04613; Farebrother et al. 2024, arXiv
    2403.03950).  Targets beyond the bins count as the nearest end.

    Args:
        outputs: bins, K.
        low, high: first and last edge.
        sigma: in widths of a bin.
    """

    outputs: int
    low: float
    high: float
    sigma: float

    def masses(self, target: Tensor) -> Tensor:
        """Probabilities [*, K] of the bins for targets [*]."""
        deviation = self.sigma * (self.high - self.low) / self.outputs
        away = self._edges(target) - target.clamp(self.low, self.high).unsqueeze(-1)
        cumulated = torch.erf(away / (deviation * math.sqrt(2.0)))
        return cumulated.diff(dim=-1) / (cumulated[..., -1:] - cumulated[..., :1])

    def values(self, outputs: Tensor) -> Tensor:
        return self._expectation(outputs.softmax(-1))

    def values_gradient(self, outputs: Tensor, slope: Tensor) -> Tensor:
        p = outputs.softmax(-1)
        deviation = self._centres(p) - self._expectation(p).unsqueeze(-1)
        return p * deviation * slope.unsqueeze(-1)

    def loss(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        expected = self.masses(target).unsqueeze(-3)
        log_p = outputs.log_softmax(-1)
        loss = -(expected * log_p).sum(-1).mean(-1).sum(-1)
        return loss, (log_p.exp() - expected) / outputs.shape[-2]

    def _expectation(self, p: Tensor) -> Tensor:
        return (p * self._centres(p)).sum(-1)  # no product of matrices: those may be rounded

    def _edges(self, like: Tensor) -> Tensor:
        count = self.outputs + 1
        return torch.linspace(self.low, self.high, count, dtype=like.dtype, device=like.device)

    def _centres(self, like: Tensor) -> Tensor:
        edges = self._edges(like)
        return (edges[1:] + edges[:-1]) / 2
