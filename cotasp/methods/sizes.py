"""How large an actor is, and what its method keeps beside it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from cotasp.methods.actor import ContinualActor
from cotasp.methods.kept import KeptRows
from cotasp.modules.policy import DEVIATION
from cotasp.modules.subnetwork import used_weights


def size_facts(actor: ContinualActor, kept: KeptRows) -> dict[str, float]:
    """Sizes at the end of a run; JSON-able.

    Args:
        actor: of the run.
        kept: rows of its finished tasks.

    Returns:
        weights: of the actor's network, all heads included.
        active_weights: of them, those that a finished task's policy reads, mean over tasks; a
            task's own weights count.
        kept_bytes: what protections, renewals, memory and shares hold beside the network: anchors
            and importances, rows of transitions, multipliers and private weights of tasks.
    """
    policy, shares = actor.meta_policy, actor.ownership.shares
    wires = actor.beginnings.wires
    active = [
        sum(
            int((used & wires.get(name, used)).sum())
            for name, used in reads.items()
            if not name.endswith(DEVIATION)  # the means alone are read
        )
        + sum(own.numel() for own in share.own.values())
        for share, reads in ((share, used_weights(policy, share)) for share in shares.values())
    ]
    return {
        "weights": sum(p.numel() for p in policy.parameters()),
        "active_weights": sum(active) / max(1, len(active)),
        "kept_bytes": sum(tensor.nbytes for tensor in _beside(actor)) + kept.nbytes,
    }


def _beside(actor: ContinualActor) -> Iterator[Tensor]:
    for component in (*actor.components.protections, *actor.components.renewals):
        for tensors in component.state.values():
            yield from tensors.values()
    for share in actor.ownership.shares.values():
        yield share.units
        yield from (*share.scale.values(), *share.own.values())
