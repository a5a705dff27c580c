"""Compact execution: the sub-network of a mask as a small dense network of its own.

Every parameter of a meta-policy has rows that belong to the units of one layer, columns that
belong to the units of the layer below, or neither; the rows of the heads count as one layer more.
`unit_axes` says which; gathering, scattering, ownership and membership are all indexing by that
table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from cotasp.errors import RecipeError, RunError
from cotasp.modules.policy import DEVIATION, MaskedMLP, MetaPolicy
from cotasp.modules.shapes import split_layers
from cotasp.modules.share import Share

# per hidden layer, the indices of its units in the sub-network, sorted; last, the heads' rows
Active = Sequence[Tensor]


def unit_axes(policy: MetaPolicy | MaskedMLP) -> dict[str, tuple[int | None, int | None]]:
    """For each parameter, the layers that its rows and its columns belong to.

    Args:
        policy: a meta-policy, or hidden layers alone.

    Returns:
        parameter name to (layer of the rows, layer of the columns): hidden ones, or, one more, that
        of the heads' rows; None where the axis belongs to none: inputs, or an axis that is not
        there.
    """
    axes: dict[str, tuple[int | None, int | None]] = {}
    body = "body." if isinstance(policy, MetaPolicy) else ""
    for i in range(len(policy.hidden)):
        axes[f"{body}layers.{i}.weight"] = (i, i - 1 if i else None)
        axes[f"{body}layers.{i}.bias"] = (i, None)
    if isinstance(policy, MaskedMLP):
        return axes
    heads = len(policy.hidden)
    axes |= {"mean.weight": (heads, heads - 1), "log_std.weight": (heads, heads - 1)}
    axes["log_std.bias"] = (heads, None)
    if policy.deviation is None:
        return axes
    return axes | {name + DEVIATION: ends for name, ends in axes.items()}


def active_rows(policy: MetaPolicy, share: Share) -> list[Tensor]:
    """Indices of a share's units, per hidden layer, and of its head's rows.

    Raises:
        RunError: a layer has none.
    """
    rows = policy.rows(share.head).nonzero().squeeze(-1)
    return [*active_units(share.units, policy.hidden), rows]


def active_units(mask: Tensor, hidden: Sequence[int]) -> list[Tensor]:
    """Indices of the units with mask > 0, per layer.

    Raises:
        RecipeError: a mask of another length.
        RunError: a layer has none.
    """
    active = [phi.nonzero().squeeze(-1) for phi in split_layers("mask", mask > 0, hidden)]
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


def extract(policy: MetaPolicy, share: Share | Tensor) -> MetaPolicy:
    """The sub-network of a share as an ordinary, small policy that needs no mask.

    For a binary mask it computes the same function as `policy(observation, mask)` (up to the
    rounding of sums in another order); it shares no memory with `policy`.

    Args:
        share: a task's, or just a mask [sum(hidden)], binary.

    Raises:
        RecipeError: no meta-policy, or a mask of another length.
        RunError: a layer has no active unit.

    Examples:
        >>> policy = MetaPolicy(3, 2, (8, 8))
        >>> extract(policy, torch.tensor([1.0, 0.0] * 8)).hidden
        (4, 4)
    """
    if not isinstance(policy, MetaPolicy):
        raise RecipeError(
            f"extract: expected a MetaPolicy, got {type(policy).__name__}, whose layers beside the "
            f"masked ones are not known; go on with the mask"
        )
    if isinstance(share, Tensor):
        share = Share(share > 0)
    active = active_rows(policy, share)
    small = policy.with_hidden([len(units) for units in active[:-1]], heads=1)
    full = {name: weight.detach() for name, weight in policy.named_parameters()}
    small.load_state_dict(gather(share.weights(full), unit_axes(policy), active))
    return small


def outputs_by(
    policy: MetaPolicy, share: Share, weights: Mapping[str, Tensor], observation: Tensor
) -> tuple[Tensor, Tensor]:
    """loc, scale [*, action_dim] of a share's policy with given weights of the meta-policy.

    Args:
        policy: that the weights are of.
        share: whose policy acts.
        weights: by parameter's name; gradients flow to them.
        observation: [*, in_features].
    """
    mask = share.units.to(policy.mean.weight)
    inputs = observation, mask, share.head
    return functional_call(policy, share.weights(weights), inputs)


def masked_part(module: nn.Module) -> tuple[str, MetaPolicy | MaskedMLP]:
    """The part of a module that masks act on, and what its parameters' names begin with there.

    Args:
        module: a meta-policy, masked hidden layers, or whatever contains one of them.

    Raises:
        RecipeError: it contains none, or several.
    """
    policies = {n: m for n, m in module.named_modules() if isinstance(m, MetaPolicy)}
    bodies = {n: m for n, m in module.named_modules() if isinstance(m, MaskedMLP)}
    if len(bodies) != 1:
        count = f"{len(bodies)}: {', '.join(bodies)}; guard each alone" if bodies else "none"
        raise RecipeError(
            f"{type(module).__name__}: expected a module that contains one MaskedMLP (a MetaPolicy "
            f"does), got one that contains {count}"
        )
    parts: dict[str, MetaPolicy | MaskedMLP] = {**bodies, **policies}
    name, part = parts.popitem()  # the policy, where there is one
    return f"{name}." if name else "", part


def head_rows(policy: MetaPolicy | MaskedMLP, head: int) -> Tensor:
    """Rows of the heads' weights that are one head's, bool [heads * action_dim]; [0] without."""
    if isinstance(policy, MetaPolicy):
        return policy.rows(head)
    return torch.zeros(0, dtype=torch.bool, device=policy.layers[0].weight.device)


def membership(
    policy: MetaPolicy | MaskedMLP, units: Tensor, rows: Tensor | None = None
) -> dict[str, Tensor]:
    """Which weights lie between marked units.

    Args:
        policy: a meta-policy, or hidden layers alone.
        units: [sum(hidden)], bool.
        rows: of the heads, bool [heads * action_dim]; None: all are marked.

    Returns:
        parameter name to bool tensor of its shape, true where **both** ends are marked; inputs
        count as marked.
    """
    rows = torch.ones_like(head_rows(policy, 0)) if rows is None else rows
    marked = [*split_layers("units", units, policy.hidden), rows]
    axes = unit_axes(policy)
    result = {}
    for name, parameter in policy.named_parameters():
        above, below = axes[name]
        both = torch.ones_like(parameter, dtype=torch.bool)
        if above is not None:
            both &= marked[above].view(-1, *[1] * (parameter.ndim - 1))
        if below is not None:
            both &= marked[below]
        result[name] = both
    return result


def used_weights(policy: MetaPolicy | MaskedMLP, share: Share) -> dict[str, Tensor]:
    """The meta-policy's weights that a share's policy reads, bool by parameter's name."""
    used = membership(policy, share.units, head_rows(policy, share.head))
    used |= {name: torch.zeros_like(used[name]) for name in share.own}
    if share.rest:  # all are read, some times a number
        return used
    return used | {name: used[name] & scale for name, scale in share.scale.items()}
