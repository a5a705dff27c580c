"""What renewals see of the network in training."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from torch import Generator, Tensor

from cotasp.methods.renewal import Network
from cotasp.methods.subpolicy import SubPolicy
from cotasp.modules.subnetwork import gather


def network_view(
    sub: SubPolicy,
    observations: Tensor,
    generator: Generator,
    state: MutableMapping[str, dict[str, Tensor]],
    progress: float,
    factors: Mapping[str, Tensor] | None = None,
) -> Network:
    """The task's units and the weights between them, for a renewal: the same whether they alone
    are computed or the whole network under its mask.

    Args:
        sub: the sub-network, cut.
        observations: [B, m].
        generator: of fresh weights, on the CPU.
        state: of the renewal.
        progress: of the task, in [0, 1].
        factors: what the meta-policy's weights were multiplied by once they were drawn, by name;
            0: one is not there, so does not move, but keeps no unit from being renewed.
    """
    axes, layers = sub.axes, range(len(sub.network.hidden))
    rows = [[n for n, (row, _) in axes.items() if row == i] for i in layers]
    columns = [[n for n, (_, column) in axes.items() if column == i] for i in layers]
    members = sub.members
    factors = gather(factors or {}, axes, members)
    there = {name: factor != 0 for name, factor in factors.items()}
    fixed = gather(sub.fixed, axes, sub.places)
    fixed = {name: where & there[name] if name in there else where for name, where in fixed.items()}

    def activations(x: Tensor) -> list[Tensor]:
        outputs = sub.acting().body.outputs(x, sub.mask)
        return [output[..., place] for output, place in zip(outputs, sub.places)]

    def fresh(name: str) -> Tensor:
        drawn = gather({name: sub.policy.drawn(name, generator)}, axes, members)[name]
        return drawn * factors[name] if name in factors else drawn

    def start(name: str) -> Tensor:
        return gather({name: sub.start(name)}, axes, members)[name]

    return Network(
        gather({name: w.detach() for name, w in sub.weights().items()}, axes, sub.places),
        {name: where for name, where in fixed.items() if where.any()},
        list(zip(rows, columns)),
        members[:-1],
        sub.policy.hidden,
        activations,
        observations,
        fresh,
        generator,
        state,
        progress,
        start,
    )
