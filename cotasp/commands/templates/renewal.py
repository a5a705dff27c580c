"""A renewal: units that hardly do anything get new weights."""

from dataclasses import dataclass

from cotasp.methods import free_units, renew_units


@dataclass(frozen=True)
class Example:
    """Draws the incoming weights of small units anew, and sets their outgoing ones to 0.

    Args:
        every: updates of the weights between two looks, at least 1.
        threshold: mean size of a unit's output, as a share of its layer's, in [0, 1).
    """

    every: int = 1000
    threshold: float = 0.025

    def renew(self, network):
        new = {name: weight.clone() for name, weight in network.weights.items()}
        outputs = network.activations(network.observations)
        for layer, output in enumerate(outputs):
            size = output.abs().mean(0)
            small = size <= self.threshold * size.mean()
            renew_units(network, new, layer, small & free_units(network, layer))
        return new
