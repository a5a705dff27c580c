"""What a task ends with, where its mask says: the weights that it keeps, and those of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from cotasp.errors import component_errors
from cotasp.modules.mask_capabilities import Keeps, Private
from cotasp.modules.masks import MaskPolicy
from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MetaPolicy


@torch.no_grad()
def keep_weights(
    mask: Keeps, policy: MetaPolicy, others: Ownership, tasks_left: int, updates: int
) -> tuple[dict[str, Tensor], int]:
    """What `Keeps.keep` returns for a task that ends; sets to 0 the weights that nobody uses then.

    Args:
        mask: of the recipe.
        policy: the meta-policy; changed in place.
        others: shares of the other tasks.
        tasks_left: tasks that have no share, and the one that ends.
        updates: that the task has had.
    """
    used = others.used(policy)
    weights = {  # nobody else is to have of a task's own head
        name: weight.detach()
        for name, weight in policy.named_parameters()
        if policy.is_shared(name)
    }
    with component_errors("mask", mask):
        scale, further = mask.keep(weights, used, tasks_left, updates)
    for name, keep in scale.items():
        weights[name].masked_fill_(~(keep | used[name]), 0.0)
    return scale, further


def own_weights(mask: MaskPolicy, policy: MetaPolicy) -> dict[str, Tensor]:
    """A copy of the weights that a task has for itself, by name; empty: they are shared."""
    if not isinstance(mask, Private):
        return {}
    return {name: weight.detach().clone() for name, weight in policy.named_parameters()}
