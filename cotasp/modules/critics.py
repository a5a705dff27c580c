"""Twin critics, evaluated together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cotasp.modules.policy import ACTIVATIONS, variance_scaling_

aten = torch.ops.aten
# Gradient of an activation's input, written over that of its output.  The second argument is the
# tensor that `ACTIVATIONS` was given: it holds the output where that works in place, as all do but
# gelu; 0.01 is PyTorch's slope.
_BACKWARD = {
    "leaky_relu": lambda g, y: aten.leaky_relu_backward.grad_input(g, y, 0.01, True, grad_input=g),
    "relu": lambda g, y: aten.threshold_backward.grad_input(g, y, 0.0, grad_input=g),
    "tanh": lambda g, y: aten.tanh_backward.grad_input(g, y, grad_input=g),
    "gelu": lambda g, x: aten.gelu_backward.grad_input(g, x, grad_input=g),
}


class Critics(nn.Module):
    """An ensemble of Q(s, a) networks whose weights are stacked and multiplied in one call.

    Layer normalisation and tanh after the first hidden layer, the activation after the others,
    as in CoTASP's reference code.

    Args:
        in_features: size of the observation.
        action_dim: size of the action.
        hidden: widths of the hidden layers.
        n: members; SAC takes the minimum over two.
        activation: a key of `cotasp.modules.policy.ACTIVATIONS`.

    Example:
        >>> Critics(3, 2, [8, 8])(torch.randn(5, 3), torch.randn(5, 2)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        in_features: int,
        action_dim: int,
        hidden: Sequence[int] = (256,) * 4,
        n: int = 2,
        activation: str = "leaky_relu",
    ) -> None:
        super().__init__()
        self.n = n
        self.activation = activation
        self.sizes = (in_features + action_dim, *hidden, 1)
        pairs = list(zip(self.sizes, self.sizes[1:]))
        # [n, in, out]: the products' gradients then come in the layout that the optimiser reads
        self.weights = nn.ParameterList(
            variance_scaling_(torch.empty(n, out, in_)).transpose(1, 2).contiguous()
            for in_, out in pairs
        )
        self.biases = nn.ParameterList(torch.zeros(n, 1, out) for _, out in pairs)
        self.norm_weight = nn.Parameter(torch.ones(n, 1, self.sizes[1]))
        self.norm_bias = nn.Parameter(torch.zeros(n, 1, self.sizes[1]))

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values of the members.

        Args:
            observation: [B, in_features].
            action: [B, action_dim].

        Returns:
            [n, B].
        """
        return self.ensemble().values(observation, action)

    def ensemble(self) -> Ensemble:
        """The same function of the same weights, with gradients written out."""
        # not `parameters()`: TorchRL's losses put plain tensors in the parameters' place
        weights = self.norm_weight, self.norm_bias, *self.weights, *self.biases
        return Ensemble(weights, self.activation)

    def member(self, i: int) -> Critics:
        """A copy of one member, as an ensemble of one: what TorchRL's losses take a list of."""
        copy = Critics(self.sizes[0], 0, self.sizes[1:-1], n=1, activation=self.activation)
        copy.load_state_dict({k: v[i : i + 1] for k, v in self.state_dict().items()})
        return copy.to(self.weights[0].device)


class Normalisation(NamedTuple):
    """Layer normalisation: input and output [*, n, B, K], mean and 1/deviation [*, n, B, 1]."""

    x: Tensor
    normal: Tensor
    mean: Tensor
    rstd: Tensor


class Tape(NamedTuple):
    """What gradients are computed from."""

    x: Tensor  # observations and actions, [*, n, B, in]
    norm: Normalisation
    before: list[Tensor]  # the activations of layers 2, 3, ..., [*, n, B, K]; or after, in place
    after: list[Tensor]  # the activations of all hidden layers


class Ensemble:
    """The function of `Critics` and its gradients, written out.

    Autograd takes a new tensor for every operation and keeps a graph; these do not.

    Args:
        parameters: those of a `Critics`, in its order, possibly with more dimensions in front:
            of several learners' critics, [learners, n, *].
        activation: that of the `Critics`.
    """

    def __init__(self, parameters: Sequence[Tensor], activation: str) -> None:
        self.norm_weight, self.norm_bias, *layers = parameters
        self.weights, self.biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        self.activation = activation
        self._product = torch.bmm if self.norm_weight.ndim == 3 else torch.matmul

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values [*, n, B] of observations [*, B, in_features] and actions [*, B, action_dim]."""
        return self.taped(observation, action)[0]

    def taped(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tape]:
        """The values, and what `gradients` and `action_gradient` need of them."""
        x = torch.cat([observation, action], -1).unsqueeze(-3)
        x = x.expand(*self.norm_weight.shape[:-2], -1, -1)
        z = self._product(x, self.weights[0]).add_(self.biases[0])
        k = z.shape[-1:]  # the kernel without weights is a slower one
        norm = torch.native_layer_norm(z, k, z.new_ones(k), z.new_zeros(k), 1e-5)
        y = torch.addcmul(self.norm_bias, norm[0], self.norm_weight).tanh_()
        tape = Tape(x, Normalisation(z, *norm), [], [y])
        for weight, bias in zip(self.weights[1:-1], self.biases[1:-1]):
            z = self._product(y, weight).add_(bias)
            y = ACTIVATIONS[self.activation](z)
            tape.before.append(z)
            tape.after.append(y)
        y = self._product(y, self.weights[-1]).add_(self.biases[-1])
        return y.squeeze(-1), tape

    @torch.no_grad()
    def gradients(self, tape: Tape, slope: Tensor) -> list[Tensor]:
        """Of sum(slope * values), `slope` [*, n, B], by the parameters, in their order."""
        norm: list[Tensor] = []
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        for x, g in self._backward(tape, slope):
            if isinstance(x, Normalisation):
                norm = [(g * x.normal).sum(-2, keepdim=True), g.sum(-2, keepdim=True)]
            else:
                weights.append(self._product(x.transpose(-1, -2), g))
                biases.append(g.sum(-2, keepdim=True))
        return [*norm, *reversed(weights), *reversed(biases)]

    @torch.no_grad()
    def action_gradient(self, tape: Tape, slope: Tensor, action_dim: int) -> Tensor:
        """Of sum(slope * values), `slope` [*, n, B], by the actions: [*, B, action_dim]."""
        ((_, g),) = deque(self._backward(tape, slope), maxlen=1)
        to_actions = self.weights[0][..., -action_dim:, :].transpose(-1, -2)
        return self._product(g, to_actions).sum(-3)

    def _backward(
        self, tape: Tape, slope: Tensor
    ) -> Iterator[tuple[Tensor | Normalisation, Tensor]]:
        """From last to first, what goes into a layer or comes out of the normalisation, and the
        gradient of what the layer's product, or the normalisation's scaling, makes of it
        [*, n, B, K], which is overwritten as soon as one goes on.
        """
        g = slope.unsqueeze(-1)
        yield tape.after[-1], g
        g = g * self.weights[-1].transpose(-1, -2)
        for before, x, weight in zip(tape.before[::-1], tape.after[-2::-1], self.weights[-2::-1]):
            g = _BACKWARD[self.activation](g, before)
            yield x, g
            g = self._product(g, weight.transpose(-1, -2))
        g = _BACKWARD["tanh"](g, tape.after[0])
        yield tape.norm, g
        z, _, mean, rstd = tape.norm
        g, *_ = aten.native_layer_norm_backward(
            g.mul_(self.norm_weight), z, z.shape[-1:], mean, rstd, None, None, [True, False, False]
        )
        yield tape.x, g
