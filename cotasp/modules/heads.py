"""What a critic's outputs mean: the values they stand for and the loss they are trained by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Head(Protocol):
    """Values and loss of a network's outputs, with gradients written out."""

    outputs: int  # numbers that the network gives per value, K

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
    """One output, which is the value; the loss is the mean squared error."""

    outputs = 1

    def values(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(-1)

    def values_gradient(self, outputs: Tensor, slope: Tensor) -> Tensor:
        return slope.unsqueeze(-1)

    def loss(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        error = outputs.squeeze(-1) - target.unsqueeze(-2)
        slope = error * (2.0 / error.shape[-1])
        return error.square().mean(-1).sum(-1), slope.unsqueeze(-1)


PLAIN = SquaredError()
