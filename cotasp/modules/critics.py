"""Twin critics, evaluated together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cotasp.checks import check
from cotasp.modules.ensembles import Pullback
from cotasp.modules.heads import PLAIN, Head
from cotasp.modules.policy import ACTIVATIONS, variance_scaling_
from cotasp.modules.shapes import Activation, Norm, check_widths
from cotasp.ranges import Count, Natural

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

    Args:
        in_features: size of the observation.
        action_dim: size of the action.
        hidden: widths of the hidden layers.
        n: members; SAC has two.
        activation: a key of `cotasp.modules.policy.ACTIVATIONS`.
        norm: of which hidden layers the products are normalised before the activation
            (`"all"`: DroQ, arXiv 2110.02034; `"first"`: the first layer only, with tanh for its
            activation, as in CoTASP's reference code).
        head: what the outputs mean.

    Examples:
        >>> Critics(3, 2, [8, 8])(torch.randn(5, 3), torch.randn(5, 2)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        in_features: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 256),
        n: int = 2,
        activation: Activation = "relu",
        norm: Norm = "all",
        head: Head = PLAIN,
    ) -> None:
        super().__init__()
        check(Count, in_features, "Critics.in_features")
        check(Natural, action_dim, "Critics.action_dim")
        check(Count, n, "Critics.n")
        check_widths("Critics", hidden)
        check(Activation, activation, "Critics.activation")
        check(Norm, norm, "Critics.norm")
        self.n = n
        self.activation = activation
        self.norm = norm
        self.head = head
        self.sizes = (in_features + action_dim, *hidden, head.outputs)
        pairs = list(zip(self.sizes, self.sizes[1:]))
        normalised = {"all": hidden, "first": hidden[:1], "none": ()}[norm]
        # [n, in, out]: the products' gradients then come in the layout that the optimiser reads
        self.weights = nn.ParameterList(
            variance_scaling_(torch.empty(n, out, in_)).transpose(1, 2).contiguous()
            for in_, out in pairs
        )
        self.biases = nn.ParameterList(torch.zeros(n, 1, out) for _, out in pairs)
        self.norm_weights = nn.ParameterList(torch.ones(n, 1, width) for width in normalised)
        self.norm_biases = nn.ParameterList(torch.zeros(n, 1, width) for width in normalised)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values of the members.

        Args:
            observation: [B, in_features].
            action: [B, action_dim].

        Returns:
            [n, B].
        """
        return self.ensemble().values(observation, action)

    def ensemble(self, parameters: Sequence[Tensor] | None = None) -> Analytic:
        """The same function with gradients written out, of these weights or of others.

        Args:
            parameters: in the order of `parameters()`, possibly with [learners] in front.
        """
        if parameters is None:
            # not `parameters()`: TorchRL's losses put plain tensors in the parameters' place
            parameters = [*self.weights, *self.biases, *self.norm_weights, *self.norm_biases]
        activations = [self.activation] * (len(self.sizes) - 2)
        if self.norm == "first":
            activations[0] = "tanh"
        return Analytic(Layers(parameters, activations), self.head)

    def head_names(self) -> list[str]:
        """Names of the last layer's parameters."""
        last = len(self.weights) - 1
        return [f"weights.{last}", f"biases.{last}"]

    def member(self, i: int) -> Critics:
        """A copy of one member, as an ensemble of one: what TorchRL's losses take a list of."""
        hidden, kind = self.sizes[1:-1], (self.activation, self.norm, self.head)
        copy = Critics(self.sizes[0], 0, hidden, 1, *kind)
        copy.load_state_dict({k: v[i : i + 1] for k, v in self.state_dict().items()})
        return copy.to(self.weights[0].device)


class Analytic:
    """Layers and a head whose gradients are computed by hand; see `Ensemble`.

    Autograd takes a new tensor for every operation and keeps a graph; this does not.
    """

    compiles = True

    def __init__(self, layers: Layers, head: Head) -> None:
        self.layers = layers
        self.head = head

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        return self.head.values(self.layers.taped(observation, action)[0])

    @torch.no_grad()
    def action_vjp(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Pullback]:
        outputs, tape = self.layers.taped(observation, action)

        def pullback(slope: Tensor) -> Tensor:
            slope = self.head.values_gradient(outputs, slope)
            return self.layers.action_gradient(tape, slope, action.shape[-1])

        return self.head.values(outputs), pullback

    @torch.no_grad()
    def loss_and_gradients(
        self, observation: Tensor, action: Tensor, target: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        outputs, tape = self.layers.taped(observation, action)
        loss, slope = self.head.loss(outputs, target)
        return loss, self.layers.gradients(tape, slope)


class Normalisation(NamedTuple):
    """Layer normalisation: input and output [*, n, B, K], mean and 1/deviation [*, n, B, 1]."""

    x: Tensor
    normal: Tensor
    mean: Tensor
    rstd: Tensor


class Tape(NamedTuple):
    """What gradients are computed from: inputs, and lists with an entry per hidden layer."""

    x: Tensor  # observations and actions, [*, n, B, in]
    norms: list[Normalisation | None]
    before: list[Tensor]  # the activations, [*, n, B, K]; or after, where they work in place
    after: list[Tensor]


class Layers:
    """The layers of `Critics` and their gradients, written out.

    Args:
        parameters: those of a `Critics`, in its order, possibly with more dimensions in front:
            of several learners' critics, [learners, n, *].
        activations: of the hidden layers; as many of them, from the first, are normalised as there
            are parameters for.
    """

    def __init__(self, parameters: Sequence[Tensor], activations: Sequence[str]) -> None:
        depth = len(activations) + 1
        self.weights, self.biases = parameters[:depth], parameters[depth : 2 * depth]
        norms = parameters[2 * depth :]
        scaling = list(zip(norms[: len(norms) // 2], norms[len(norms) // 2 :]))
        # per hidden layer, what multiplies its normalised product and is added; None: no norm
        self.scaling = scaling + [None] * (len(activations) - len(scaling))
        self.activations = activations
        self._product = torch.bmm if self.weights[0].ndim == 3 else torch.matmul

    def taped(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tape]:
        """The outputs [*, n, B, K], and what `gradients` and `action_gradient` need of them."""
        x = torch.cat([observation, action], -1).unsqueeze(-3)
        x = y = x.expand(*self.weights[0].shape[:-2], -1, -1)
        tape = Tape(x, [], [], [])
        hidden = zip(self.weights, self.biases, self.scaling, self.activations)
        for weight, bias, scaling, activation in hidden:
            z, norm = self._product(y, weight).add_(bias), None
            if scaling is not None:
                k = z.shape[-1:]  # the kernel without weights is a slower one
                parts = torch.native_layer_norm(z, k, z.new_ones(k), z.new_zeros(k), 1e-5)
                norm = Normalisation(z, *parts)
                z = torch.addcmul(scaling[1], norm.normal, scaling[0])
            y = ACTIVATIONS[activation](z)
            tape.norms.append(norm)
            tape.before.append(z)
            tape.after.append(y)
        return self._product(y, self.weights[-1]).add_(self.biases[-1]), tape

    @torch.no_grad()
    def gradients(self, tape: Tape, slope: Tensor) -> list[Tensor]:
        """Gradients of sum(slope * outputs) by the parameters, in their order.

        Args:
            slope: [*, n, B, K].
        """
        norms: list[tuple[Tensor, Tensor]] = []
        layers: list[tuple[Tensor, Tensor]] = []
        for x, g in self._backward(tape, slope):
            total = g.sum(-2, keepdim=True)
            if isinstance(x, Normalisation):
                norms.append(((g * x.normal).sum(-2, keepdim=True), total))
            else:
                layers.append((self._product(x.transpose(-1, -2), g), total))
        return [pair[i] for pairs in (layers, norms) for i in (0, 1) for pair in reversed(pairs)]

    @torch.no_grad()
    def action_gradient(self, tape: Tape, slope: Tensor, action_dim: int) -> Tensor:
        """Gradient of sum(slope * outputs) by the actions, [*, B, action_dim].

        Args:
            slope: [*, n, B, K].
        """
        ((_, g),) = deque(self._backward(tape, slope), maxlen=1)
        to_actions = self.weights[0][..., -action_dim:, :].transpose(-1, -2)
        return self._product(g, to_actions).sum(-3)

    def _backward(
        self, tape: Tape, slope: Tensor
    ) -> Iterator[tuple[Tensor | Normalisation, Tensor]]:
        """From last to first, what goes into a layer or comes out of a normalisation, and the
        gradient of what the layer's product, or the normalisation's scaling, makes of it
        [*, n, B, K], which is overwritten as soon as one goes on.
        """
        g = slope
        inputs = [tape.x, *tape.after]
        yield inputs[-1], g
        for i in reversed(range(len(self.activations))):
            g = self._through(g, self.weights[i + 1])
            g = _BACKWARD[self.activations[i]](g, tape.before[i])
            norm, scaling = tape.norms[i], self.scaling[i]
            if norm is not None and scaling is not None:
                yield norm, g
                g = g.mul_(scaling[0])
                g, *_ = aten.native_layer_norm_backward(
                    g, norm.x, g.shape[-1:], norm.mean, norm.rstd, None, None, [True, False, False]
                )
            yield inputs[i], g

    def _through(self, g: Tensor, weight: Tensor) -> Tensor:
        """Gradient of a product's input from that of its output."""
        back = weight.transpose(-1, -2)
        return g * back if g.shape[-1] == 1 else self._product(g, back)
