"""Compact execution: the sub-network of a mask as a small dense network of its own.

Every parameter of a meta-policy has rows that belong to the units of one layer, columns that
belong to the units of the layer below, or neither.  `unit_axes` says which; gathering,
scattering, ownership and membership are all indexing by that table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cotasp.errors import RunError
from cotasp.modules.policy import MetaPolicy

Active = Sequence[Tensor]  # per hidden layer, the indices of its units in the sub-network, sorted


def unit_axes(policy: MetaPolicy) -> dict[str, tuple[int | None, int | None]]:
    """For each parameter, the hidden layers its rows and its columns belong to.

    Returns:
        parameter name to (layer of the rows, layer of the columns), None where the axis
        belongs to no hidden layer: inputs, actions, or an axis that is not there.
    """
    axes: dict[str, tuple[int | None, int | None]] = {}
    for i in range(len(policy.hidden)):
        axes[f"body.layers.{i}.weight"] = (i, i - 1 if i else None)
        axes[f"body.layers.{i}.bias"] = (i, None)
    last = len(policy.hidden) - 1
    return {**axes, "mean.weight": (None, last), "log_std.weight": (None, last)} | {
        "log_std.bias": (None, None)
    }


def active_units(mask: Tensor, hidden: Sequence[int]) -> list[Tensor]:
    """Indices of the units with mask > 0, per layer.

    Raises:
        RunError: a layer has none.
    """
    active = [phi.nonzero().squeeze(-1) for phi in (mask > 0).split(tuple(hidden))]
    for layer, units in enumerate(active):
        if not len(units):
            raise RunError(
                f"hidden layer {layer + 1}: the mask has no active unit, so the task has no "
                f"sub-network; lower the dictionary's lmbda or the mask policy's threshold"
            )
    return active


def index_of(
    axes: tuple[int | None, int | None], active: Active, ndim: int
) -> tuple[slice | Tensor, ...]:
    """The place, in a parameter of `ndim` axes, of what belongs to a sub-network."""
    rows, columns = (None if layer is None else active[layer] for layer in axes)
    if rows is not None and columns is not None:
        return (rows[:, None], columns)
    every = slice(None)
    return (every if rows is None else rows, every if columns is None else columns)[:ndim]


def gather(
    tensors: Mapping[str, Tensor],
    axes: Mapping[str, tuple[int | None, int | None]],
    active: Active,
) -> dict[str, Tensor]:
    """The entries of parameter-shaped tensors that belong to a sub-network, copied."""
    return {k: t[index_of(axes[k], active, t.ndim)].clone() for k, t in tensors.items()}


def scatter_(
    into: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    axes: Mapping[str, tuple[int | None, int | None]],
    active: Active,
) -> None:
    """Writes a sub-network's entries back into parameter-shaped tensors, in place."""
    with torch.no_grad():
        for name, value in values.items():
            target = into[name]
            target[index_of(axes[name], active, target.ndim)] = value.detach().to(target.dtype)


def pad(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """A copy with zeros appended along every axis, up to a shape."""
    padded = tensor.new_zeros(tuple(shape))
    unpadded(padded, tensor.shape).copy_(tensor.detach())
    return padded


def unpadded(padded: Tensor, shape: Sequence[int]) -> Tensor:
    """What `pad` was given, as a view."""
    return padded[tuple(slice(size) for size in shape)]


def pad_layers(layers: Sequence[Tensor], widths: Sequence[int]) -> Tensor:
    """One value per unit, given layer by layer, [sum(widths)]: zeros at the end of each layer."""
    return torch.cat([F.pad(layer, (0, k - len(layer))) for layer, k in zip(layers, widths)])


def extract(
    policy: MetaPolicy, mask: Tensor, scale: Mapping[str, Tensor] | None = None
) -> MetaPolicy:
    """The sub-network of a mask as an ordinary, small policy that needs no mask.

    Computes the same function as `policy(observation, mask)` for a binary mask (up to the
    rounding of sums in another order); it shares no memory with `policy`.

    Args:
        mask: [sum(hidden)], binary.
        scale: multipliers of weights by parameter's name, of its shape; missing: 1.

    Raises:
        RunError: a layer has no active unit.

    Example:
        >>> policy = MetaPolicy(3, 2, (8, 8))
        >>> extract(policy, torch.tensor([1.0, 0.0] * 8)).hidden
        (4, 4)
    """
    active = active_units(mask, policy.hidden)
    small = policy.with_hidden([len(units) for units in active])
    full = {name: weight.detach() for name, weight in policy.named_parameters()}
    full |= {name: full[name] * factor for name, factor in (scale or {}).items()}
    weights = gather(full, unit_axes(policy), active)
    small.load_state_dict(weights)
    return small


def membership(policy: MetaPolicy, units: Tensor) -> dict[str, Tensor]:
    """Which weights lie between marked units.

    Args:
        units: [sum(hidden)], bool.

    Returns:
        parameter name to bool tensor of its shape, true where **both** ends are marked; an
        axis that belongs to no hidden layer (inputs, actions) counts as marked.
    """
    marked, axes = units.split(policy.hidden), unit_axes(policy)
    result = {}
    for name, parameter in policy.named_parameters():
        rows, columns = axes[name]
        both = torch.ones_like(parameter, dtype=torch.bool)
        if rows is not None:
            both &= marked[rows].view(-1, *[1] * (parameter.ndim - 1))
        if columns is not None:
            both &= marked[columns]
        result[name] = both
    return result
