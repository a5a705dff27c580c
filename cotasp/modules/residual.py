"""Twin critics of residual blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotasp.modules.policy import variance_scaling_


class ResidualCritics(nn.Module):
    """BroNet: x <- x + LN(W_2 relu(LN(W_1 x))), after relu(LN(W_0 [s, a])), before a linear value.

    BRO (arXiv 2405.16158); layers have biases, normalisations an affine part.  Weights begin as in
    `Critics`, not orthogonal.

    Args:
        in_features: size of the observation.
        action_dim: size of the action.
        width: of all layers.
        blocks: how many of two layers each.
        n: members.

    Examples:
        >>> ResidualCritics(3, 2, width=8)(torch.randn(5, 3), torch.randn(5, 2)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self, in_features: int, action_dim: int, width: int = 256, blocks: int = 1, n: int = 2
    ) -> None:
        super().__init__()
        self.first = NormedDense(n, in_features + action_dim, width)
        self.blocks = nn.ModuleList(
            Residual(NormedDense(n, width, width) for _ in range(2)) for _ in range(blocks)
        )
        self.last = Dense(n, width, 1)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values [n, B] of observations [B, in_features] and actions [B, action_dim]."""
        x = torch.cat([observation, action], -1)
        x = x.expand(len(self.last.weight), -1, -1)
        x = F.relu(self.first(x))
        for block in self.blocks:
            x = block(x)
        return self.last(x).squeeze(-1)

    def head_names(self) -> list[str]:
        """Names of the last layer's parameters."""
        return ["last.weight", "last.bias"]


class Residual(nn.ModuleList):
    """x + f_2(relu(f_1(x))) of two modules f_1, f_2."""

    def forward(self, x: Tensor) -> Tensor:
        inner, outer = self
        return x + outer(F.relu(inner(x)))


class Dense(nn.Module):
    """Linear layers of n members, [n, B, in_features] to [n, B, out_features]."""

    def __init__(self, n: int, in_features: int, out_features: int) -> None:
        super().__init__()
        weight = variance_scaling_(torch.empty(n, out_features, in_features))
        self.weight = nn.Parameter(weight.transpose(1, 2).contiguous())
        self.bias = nn.Parameter(torch.zeros(n, 1, out_features))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class NormedDense(nn.Module):
    """`Dense` followed by layer normalisation, of n members."""

    def __init__(self, n: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.dense = Dense(n, in_features, out_features)
        self.scale = nn.Parameter(torch.ones(n, 1, out_features))
        self.shift = nn.Parameter(torch.zeros(n, 1, out_features))

    def forward(self, x: Tensor) -> Tensor:
        z = self.dense(x)
        return torch.addcmul(self.shift, F.layer_norm(z, z.shape[-1:]), self.scale)
