"""A finished task's network under the weights of one in training, without the meta-policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from cotasp.modules.policy import MetaPolicy, Policy
from cotasp.modules.share import Share, multipliers
from cotasp.modules.subnetwork import (
    Active,
    active_rows,
    extract,
    gather,
    index_of,
    unit_axes,
)


class FinishedNetwork:
    """A finished task's network, cut out, which shares weights with a compact one in training.

    Args:
        policy: the meta-policy, whose weights outside the network in training do not move.
        share: of the finished task.
        active: units and rows of the network in training, as in `gather`.
    """

    def __init__(self, policy: MetaPolicy, share: Share, active: Sequence[Tensor]) -> None:
        self.share = share  # held, so that no other one has its identity
        mine, axes = active_rows(policy, share), unit_axes(policy)
        self.network = extract(policy, share)
        here = [torch.isin(theirs, own).nonzero().squeeze(-1) for own, theirs in zip(mine, active)]
        there = [torch.isin(own, theirs).nonzero().squeeze(-1) for own, theirs in zip(mine, active)]
        self.weights = {name: p.detach() for name, p in self.network.named_parameters()}
        # where weights of both networks are in this one, and in the other; None: everywhere
        self.common = {
            name: (_part(axes[name], there, mine, w.ndim), _part(axes[name], here, active, w.ndim))
            for name, w in self.weights.items()
            if name not in share.own
        }
        factors = multipliers(gather(share.scale, axes, mine), share.rest, self.weights)
        self.factors = {
            name: factor if (part := self.common[name][0]) is None else factor[part]
            for name, factor in factors.items()
            if name in self.common
        }

    def policy(self, training: Mapping[str, Tensor]) -> Policy:
        """The task's policy, with weights of the network in training, without padding, by name."""
        weights = dict(self.weights)
        for name, (there, here) in self.common.items():
            values = training[name] if here is None else training[name][here]
            if name in self.factors:
                values = values * self.factors[name]
            if there is None:
                weights[name] = values
            else:
                weights[name] = weights[name].clone()
                weights[name][there] = values
        return lambda x: functional_call(self.network, weights, (x,))


def _part(
    axes: tuple[int | None, int | None], places: Active, of: Active, ndim: int
) -> tuple[slice | Tensor, ...] | None:
    """The place of some units' weights among those of others; None: these are all."""
    layers = [layer for layer in axes if layer is not None]
    if all(len(places[layer]) == len(of[layer]) for layer in layers):
        return None
    return index_of(axes, places, ndim)
