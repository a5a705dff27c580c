"""Dormant units renewed (`redo`)."""

from dataclasses import dataclass

from cotasp.methods import free_units, renew_units


@dataclass(frozen=True)
class ReDo:
    """Draws the incoming weights of dormant units anew, and sets their outgoing ones to 0."""

    every: int = 1000
    threshold: float = 0.025

    def renew(self, network):
        new = {name: weight.clone() for name, weight in network.weights.items()}
        outputs = network.activations(network.observations)
        for layer, output in enumerate(outputs):
            size = output.abs().mean(0)
            dormant = size <= self.threshold * size.mean()
            renew_units(network, new, layer, dormant & free_units(network, layer))
        return new
