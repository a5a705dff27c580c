"""The least useful units renewed, a few at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cotasp.checks import check_fields
from cotasp.methods.renewal import free_units, renew_units
from cotasp.ranges import Count, Natural, Share, ShareBelowOne

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.renewal import Network


@dataclass(frozen=True)
class ContinualBackprop:
    """Renews the least useful of the mature units, few at a time (continual backprop).

    utility_i <- decay utility_i + (1 - decay) mean|h_i| sum_k |w_ki|, and of the units older than
    `maturity` updates a fraction `rate` per update is renewed, those of least utility: incoming
    weights drawn anew, outgoing ones 0, age and utility 0 (Nature 632, 768, 2024; arXiv
    2306.13812).  Fractions of a unit add up until there is one.  A unit with a guarded weight is
    left alone.  There the mean of what a unit gave goes to the next layer's bias; here it is lost,
    since the head of the mean has no bias.

    Args:
        every: updates of the weights between two looks, each of which costs a forward pass.
        rate: of mature units renewed per update, in [0, 1].
        maturity: updates for which a new unit is left alone, at least 0.
        decay: of utilities, per look, in [0, 1).
    """

    every: Count = 10
    rate: Share = 1e-4
    maturity: Natural = 1000
    decay: ShareBelowOne = 0.99

    def __post_init__(self):
        check_fields(self)

    def renew(self, network: Network) -> Mapping[str, Tensor]:
        new = {name: weight.clone() for name, weight in network.weights.items()}
        outputs = network.activations(network.observations)
        for layer, (output, active) in enumerate(zip(outputs, network.active)):
            key = f"layer{layer + 1}"
            if key not in network.state:
                empty = output.new_zeros(network.widths[layer])
                network.state[key] = {
                    "utility": empty,
                    "age": empty.clone(),
                    "due": output.new_zeros(()),
                }
            # of all units of the network: those that are not in training wait
            utility, age, due = (network.state[key][k] for k in ("utility", "age", "due"))
            _, columns = network.units[layer]
            outgoing = sum(network.weights[name].abs().sum(0) for name in columns)
            contribution = output.abs().mean(0) * outgoing
            utility[active] = self.decay * utility[active] + (1 - self.decay) * contribution
            age[active] += self.every
            mature = (age[active] > self.maturity) & free_units(network, layer)
            due += self.rate * self.every * mature.sum()
            count = min(int(due), int(mature.sum()))
            if not count:
                continue
            due -= count
            least = utility[active].masked_fill(~mature, float("inf")).argsort()[:count]
            chosen = mature.new_zeros(len(output[0]))
            chosen[least] = True
            renew_units(network, new, layer, chosen)
            utility[active[least]] = age[active[least]] = 0.0
        return new
