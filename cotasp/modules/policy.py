"""The meta-policy: one network from which every task cuts its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotasp.checks import check
from cotasp.errors import RecipeError
from cotasp.modules.shapes import Activation, check_actor, check_body, split_layers
from cotasp.ranges import Count

# in place where autograd allows it: at these sizes activations cost as much as products; the
# critics' `_BACKWARD` relies on which are
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": partial(F.leaky_relu, inplace=True),
    "relu": partial(F.relu, inplace=True),
    "tanh": torch.tanh_,
    "gelu": F.gelu,
}


Policy = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Observations [*, n] to loc and scale [*, action_dim] of a Gaussian before it is squashed."""

EPSILON = 1e-5  # added to variances, as by torch's layer normalisation

DEVIATION = "_log_deviation"  # ends the name of a Gaussian weight's log standard deviation


def variance_scaling_(
    weight: Tensor, scale: float = 2.0, generator: torch.Generator | None = None
) -> Tensor:
    """Truncated normal of variance scale / fan_in, cut at two standard deviations.

    Args:
        weight: [*, out, in], changed in place, but on the device `meta`, where nothing is.
        scale: variance times fan-in.
        generator: None: torch's global one.
    """
    if weight.is_meta:
        return weight
    # 0.8796 is the standard deviation of a unit normal cut at +-2
    std = math.sqrt(scale / weight.shape[-1]) / 0.87962566103423978
    with torch.no_grad():
        return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)


def masked_layer_norm(x: Tensor, mask: Tensor | None) -> Tensor:
    """Layer normalisation without affine part, statistics over the active units only.

    Args:
        x: [*, K].
        mask: [*, K] or [K], weights of the statistics; None: all units.

    Returns:
        [*, K]; entries of inactive units are normalised with the same statistics.
    """
    if mask is None:
        return F.layer_norm(x, x.shape[-1:], eps=EPSILON)
    weight = mask.detach()  # the code is trained through Eq. 2 alone, not through the statistics
    total = weight.sum(-1, keepdim=True)
    mean = (x * weight).sum(-1, keepdim=True) / total
    deviation = x - mean
    variance = (deviation.square() * weight).sum(-1, keepdim=True) / total
    return deviation * torch.rsqrt(variance + EPSILON)


class MaskedMLP(nn.Module):
    """Hidden layers whose outputs a mask multiplies: y_l = phi_l * f(y_{l-1}; theta_l).

    CoTASP (arXiv 2305.18444), Eq. 2.  After the first layer come masked layer normalisation
    (no affine part, statistics over active units) and tanh, after the others the activation.

    Args:
        in_features: size of the input.
        hidden: widths K_1 ... K_L.
        activation: of layers 2 ... L; a key of `ACTIVATIONS`.
        norm: `"first"`: layer 1 is normalised, its activation tanh; `"none"`: it is as the others,
            so that what a unit gives does not depend on which others are active beside it.

    Raises:
        RecipeError: an argument of the wrong type or range.

    Examples:
        >>> mlp = MaskedMLP(3, [8, 8])
        >>> mask = torch.zeros(16); mask[:4] = mask[8:12] = 1
        >>> mlp(torch.randn(5, 3), mask).shape
        torch.Size([5, 8])
    """

    layers: Sequence[nn.Linear]
    units: Tensor | None  # [K_1], 0 for units that only pad, whose gradients are 0 then

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        activation: Activation = "leaky_relu",
        norm: Literal["first", "none"] = "first",
    ) -> None:
        super().__init__()
        check(Count, in_features, "MaskedMLP.in_features")
        check_body("MaskedMLP", hidden, activation, norm)
        self.in_features = in_features
        self.hidden = tuple(hidden)
        self.activation = activation
        self.norm = norm
        self.register_buffer("units", None, persistent=False)
        sizes = (in_features, *hidden)
        layers = [nn.Linear(sizes[i], sizes[i + 1]) for i in range(len(hidden))]
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]  # its items lose their type
        for layer in self.layers:
            variance_scaling_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of the sub-network.

        Args:
            x: [*, in_features].
            mask: [sum(hidden)] for the whole batch or [*, sum(hidden)], one per row, in
                [0, 1]; None: the whole network.

        Returns:
            [*, hidden[-1]].

        Raises:
            RecipeError: observations of another size, or a mask of another length.
        """
        return self.outputs(x, mask)[-1]

    def outputs(self, x: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """What every hidden layer gives, [*, K_l] each; arguments as of `forward`."""
        if x.shape[-1:] != (self.in_features,):
            raise RecipeError(
                f"MaskedMLP: expected observations [*, {self.in_features}], got shape "
                f"{list(x.shape)}"
            )
        outputs = []
        if mask is None:
            masks: Sequence[Tensor | None] = (None,) * len(self.hidden)
        else:
            masks = split_layers("MaskedMLP: mask", mask, self.hidden)
        activation = ACTIVATIONS[self.activation]
        for i, (layer, phi) in enumerate(zip(self.layers, masks)):
            x = layer(x)
            first = i == 0 and self.norm == "first"
            x = self._normalise(x, phi).tanh_() if first else activation(x)
            if phi is not None:
                x = x * phi
            outputs.append(x)
        return outputs

    def _normalise(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None or self.units is None:
            return masked_layer_norm(x, mask)
        return masked_layer_norm(x, self.units) * self.units


class MetaPolicy(nn.Module):
    """A masked network with the two heads of a tanh-squashed Gaussian.

    CoTASP (arXiv 2305.18444), section 4 and its reference code.  loc = W_mu h, optionally
    squashed by tanh; the log standard deviation is squashed into `log_std_range`.

    Args:
        in_features: size of the observation.
        action_dim: size of the action.
        hidden: widths of the hidden layers.
        activation, norm: see `MaskedMLP`.
        std: `"exp"`: scale = exp(log_std); `"softplus"`: scale = log(1 + exp(log_std)), the
            reference code's.
        log_std_range: bounds of log_std.
        squash_mean: whether loc = tanh(W_mu h), the reference code's.
        head_scale: variance scale of the heads' initialisation.
        heads: pairs of heads; one for all tasks, or one for each.
        deviation: that every weight begins with, where weights are Gaussian: beside each of them
            is a parameter with its log standard deviation, of its name and `DEVIATION`.  The
            network itself reads the means.  None: weights are numbers.

    Raises:
        RecipeError: an argument of the wrong type or range.
    """

    def __init__(
        self,
        in_features: int,
        action_dim: int,
        hidden: Sequence[int] = (1024,) * 4,
        *,
        activation: Activation = "leaky_relu",
        norm: Literal["first", "none"] = "first",
        std: Literal["exp", "softplus"] = "exp",
        log_std_range: tuple[float, float] = (-5.0, 2.0),
        squash_mean: bool = False,
        head_scale: float = 1e-2,
        heads: int = 1,
        deviation: float | None = None,
    ) -> None:
        super().__init__()
        check(Count, in_features, "MetaPolicy.in_features")
        check(Count, action_dim, "MetaPolicy.action_dim")
        check(Count, heads, "MetaPolicy.heads")
        kind = (activation, norm, std, log_std_range, squash_mean, head_scale, deviation)
        check_actor("MetaPolicy", hidden, *kind)
        self.action_dim = action_dim
        self.heads = heads
        self.std = std
        low, high = log_std_range
        self.log_std_range = (low, high)
        self.squash_mean = squash_mean
        self.head_scale = head_scale
        self.deviation = deviation
        self.body = MaskedMLP(in_features, hidden, activation, norm)
        self.mean = nn.Linear(hidden[-1], heads * action_dim, bias=False)
        self.log_std = nn.Linear(hidden[-1], heads * action_dim)
        for head in (self.mean, self.log_std):
            variance_scaling_(head.weight, head_scale)
        nn.init.zeros_(self.log_std.bias)
        if deviation is not None:
            for layer in (*self.body.layers, self.mean, self.log_std):
                for name, mean in list(layer.named_parameters()):
                    spread = nn.Parameter(torch.full_like(mean, math.log(deviation)))
                    layer.register_parameter(name + DEVIATION, spread)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return self.body.hidden

    def rows(self, head: int) -> Tensor:
        """The rows of the heads' weights that are one head's, bool [heads * action_dim]."""
        place = torch.arange(self.heads * self.action_dim, device=self.mean.weight.device)
        return place // self.action_dim == head

    def is_shared(self, name: str) -> bool:
        """Whether a parameter is for all tasks: heads are not, where each task has its own."""
        return self.heads == 1 or name.startswith("body.")

    def with_hidden(self, hidden: Sequence[int], heads: int | None = None) -> MetaPolicy:
        """A new policy of the same kind with other widths, on the same device.

        Args:
            hidden: widths of the hidden layers.
            heads: pairs of heads; None: as many as there are.
        """
        device, dtype = self.mean.weight.device, self.mean.weight.dtype
        with torch.device("meta"):  # weights are about to be copied in: draw no random numbers
            policy = MetaPolicy(
                self.body.in_features,
                self.action_dim,
                hidden,
                activation=self.body.activation,
                norm=self.body.norm,
                std=self.std,
                log_std_range=self.log_std_range,
                squash_mean=self.squash_mean,
                head_scale=self.head_scale,
                heads=self.heads if heads is None else heads,
                deviation=self.deviation,
            )
        return policy.to_empty(device=device).to(dtype)

    def forward(
        self, observation: Tensor, mask: Tensor | None = None, head: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Parameters of the Gaussian before its squashing.

        Args:
            observation: [*, in_features].
            mask: see `MaskedMLP.forward`.
            head: which of the heads.

        Returns:
            loc and scale, [*, action_dim] each.
        """
        loc, raw = self._heads(self.body(observation, mask), head)
        if self.squash_mean:
            loc = torch.tanh(loc)
        low, high = self.log_std_range
        log_std = low + 0.5 * (high - low) * (torch.tanh(raw) + 1.0)
        return loc, log_std.exp() if self.std == "exp" else F.softplus(log_std)

    def drawn(self, name: str, generator: torch.Generator) -> Tensor:
        """A parameter's initial values, drawn anew on the CPU, of its shape and where it is.

        Args:
            name: of the parameter.
            generator: random numbers.
        """
        weight = self.get_parameter(name).detach()
        if self.deviation is not None and name.endswith(DEVIATION):
            return torch.full_like(weight, math.log(self.deviation))
        values = torch.zeros(weight.shape)
        if not name.endswith("bias"):
            scale = 2.0 if name.startswith("body") else self.head_scale
            values = variance_scaling_(values, scale, generator)
        return values.to(weight)

    def _heads(self, features: Tensor, head: int) -> tuple[Tensor, Tensor]:
        """Both heads by one product: a product this small costs the same for 4 columns as for 8."""
        mean: Tensor = self.mean.weight
        log_std: Tensor = self.log_std.weight
        bias: Tensor = self.log_std.bias
        if self.heads > 1:  # three views take as long as a small product
            rows = slice(head * self.action_dim, (head + 1) * self.action_dim)
            mean, log_std, bias = mean[rows], log_std[rows], bias[rows]
        both = features @ torch.cat([mean, log_std]).T
        loc, raw = both.split(self.action_dim, dim=-1)
        return loc, raw + bias


def sample_squashed(loc: Tensor, scale: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A reparametrised sample of a tanh-squashed Gaussian and its log-density.

    a = tanh(u), u = loc + scale * noise; log pi(a) = log N(u) - sum log(1 - tanh(u)^2), with
    log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)) (SAC, arXiv 1801.01290, appendix C).

    Args:
        loc, scale, noise: [*, action_dim]; noise is standard normal.

    Returns:
        action [*, action_dim] in (-1, 1), log_prob [*].
    """
    u = loc + scale * noise
    normal = -0.5 * noise.square() - scale.log() - 0.5 * math.log(2 * math.pi)
    squash = 2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))
    return torch.tanh(u), (normal - squash).sum(-1)


def gaussian_kl(loc: Tensor, scale: Tensor, other_loc: Tensor, other_scale: Tensor) -> Tensor:
    """KL(N(loc, scale^2) || N(other_loc, other_scale^2)), elementwise."""
    ratio, distance = scale / other_scale, (loc - other_loc) / other_scale
    return 0.5 * (ratio.square() + distance.square() - 1.0) - ratio.log()
