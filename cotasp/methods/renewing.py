"""What renewals see of the network in training."""

from __future__ import annotations

from collections.abc import MutableMapping

from torch import Generator, Tensor

from cotasp.methods.renewal import Network
from cotasp.methods.subpolicy import SubPolicy


def network_view(
    sub: SubPolicy,
    observations: Tensor,
    generator: Generator,
    state: MutableMapping[str, dict[str, Tensor]],
    progress: float,
) -> Network:
    """The network in training, for a renewal.

    Args:
        sub: the sub-network, cut.
        observations: [B, m].
        generator: of fresh weights, on the CPU.
        state: of the renewal.
        progress: of the task, in [0, 1].
    """
    weights = {name: weight.detach() for name, weight in sub.weights().items()}
    layers = range(len(sub.network.hidden))
    rows = [[n for n, (row, _) in sub.axes.items() if row == i] for i in layers]
    columns = [[n for n, (_, column) in sub.axes.items() if column == i] for i in layers]

    def activations(x: Tensor) -> list[Tensor]:
        return sub.acting().body.outputs(x, sub.mask)

    def fresh(name: str) -> Tensor:
        drawn = sub.policy.drawn(name, weights[name].shape, generator)
        return drawn.to(weights[name])

    return Network(
        weights,
        sub.fixed,
        list(zip(rows, columns)),
        sub.active,
        sub.policy.hidden,
        activations,
        observations,
        fresh,
        generator,
        state,
        progress,
        sub.start,
    )
