"""Twin critics, evaluated together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotasp.modules.policy import ACTIVATIONS, variance_scaling_


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
        x = torch.cat([observation, action], -1).expand(self.n, -1, -1)
        activation = ACTIVATIONS[self.activation]
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            x = torch.baddbmm(bias, x, weight)
            if i == 0:
                x = F.layer_norm(x, x.shape[-1:])
                x = torch.addcmul(self.norm_bias, x, self.norm_weight).tanh_()
            elif i < last:
                x = activation(x)
        return x.squeeze(-1)

    def member(self, i: int) -> Critics:
        """A copy of one member, as an ensemble of one: what TorchRL's losses take a list of."""
        copy = Critics(self.sizes[0], 0, self.sizes[1:-1], n=1, activation=self.activation)
        copy.load_state_dict({k: v[i : i + 1] for k, v in self.state_dict().items()})
        return copy.to(self.weights[0].device)
