"""The part of the meta-policy that trains: cut out, stepped under guard, written back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cotasp.methods.adam import Adam
from cotasp.methods.averaging import average_, averaging_weight, clipped
from cotasp.methods.finished_network import FinishedNetwork
from cotasp.modules.policy import DEVIATION, MetaPolicy, Policy
from cotasp.modules.share import Share, multipliers
from cotasp.modules.subnetwork import (
    active_rows,
    gather,
    membership,
    pad,
    pad_layers,
    scatter_,
    unit_axes,
    unpadded,
)
from cotasp.storage.tensors import check_shapes

State = Mapping[str, Mapping[str, Tensor]]  # of a protection
Multipliers = Callable[[], Mapping[str, Tensor]]  # by parameter's name, of its shape


class SubPolicy:
    """The sub-network in training and its optimiser.

    With `compact`, `cut` gathers the active rows and columns into a small network; without, the
    meta-policy itself works under the mask.  Both take the same steps: a weight moves only if
    both its ends are active and the guard lets it, and the Adam moments of weights outside the
    sub-network are zero.  `write_back` must be called before the meta-policy is read.

    Args:
        policy: the meta-policy.
        learning_rate: of Adam.
        compact: whether to gather.
        multiple: of which the gathered layers' widths are, unless that is more than the layer has,
            by units whose weights are and stay zero.  Every new shape of a product has its price:
            oneDNN keeps code for it, a compiler takes time.
        average: decay per step of the weights' running average, in [0, 1); 0: there is none.
        clip: largest norm of a step's gradient, all parameters together; None: any.
        keeps_start: whether `start` is asked for.
        seed: of the draws of Gaussian weights.
    """

    def __init__(
        self,
        policy: MetaPolicy,
        learning_rate: float,
        compact: bool,
        multiple: int = 1,
        average: float = 0.0,
        clip: float | None = None,
        keeps_start: bool = False,
        seed: int = 0,
    ) -> None:
        self.policy = policy
        self.learning_rate = learning_rate
        self.compact = compact
        self.multiple = multiple
        self.decay = average
        self.clip = clip
        self.keeps_start = keeps_start
        self.generator = torch.Generator().manual_seed(seed)
        self.axes = unit_axes(policy)
        self.network = policy
        self.head = 0  # of the network, that the task acts by
        self.mask: Tensor | None = None  # multiplies the network's units; None: all ones
        self.multipliers: Multipliers | None = None  # of the weights, by what trains; None: none
        self.states: list[State] = []  # of the protections, in this network's shapes
        self._active: list[Tensor] = []
        self._constant: dict[str, Tensor] = {}  # multipliers of the task, in this network's shapes
        self.begin_task(None, ())

    def begin_task(
        self,
        guard: Mapping[str, Tensor] | None,
        states: Sequence[State],
        head: int = 0,
        scale: Mapping[str, Tensor] | None = None,
        rest: float = 0.0,
    ) -> None:
        """Takes what may move and the protections' states; forgets the optimiser's state.

        Args:
            guard: true where a weight may change; None: everywhere.
            states: tensors with a parameter's name and shape are cut as it is.
            head: that the task acts by.
            scale, rest: of the weights, as in `Share`; None: all are read as they are.
        """
        self._guard = guard
        self._task_head = head
        self._full_scale, self._rest = scale or {}, rest
        self._full_states = states
        self._moments: dict[str, dict[str, Tensor]] = {}
        self._steps = 0
        # in the meta-policy's shapes; empty without averaging
        self._full_average = {
            name: weight.clone() for name, weight in self._full_weights().items() if self.decay
        }
        self._full_start = {
            name: weight.clone()
            for name, weight in self._full_weights().items()
            if self.keeps_start
        }
        self._full_noise = self._draw_noise()

    def free_fraction(self, units: Tensor) -> float:
        """The fraction of the weights between some units that may move in this task.

        Args:
            units: [sum(hidden)], bool.
        """
        members = membership(self.policy, units)
        if self._guard is None:
            return 1.0
        free = sum(int((mine & self._guard[name]).sum()) for name, mine in members.items())
        return free / max(1, sum(int(mine.sum()) for mine in members.values()))

    def cut(self, mask: Tensor, full: bool = False) -> None:
        """Makes the sub-network of a mask [sum(hidden)] the one in training.

        Args:
            mask: in [0, 1].
            full: work on the whole network under the mask, even if compact.
        """
        self._cut_by = mask, full
        units = mask > 0
        rows = self.policy.rows(self._task_head)
        whole = full or not self.compact or bool(units.all() and rows.all())
        binary = bool(((mask == 0) | (mask == 1)).all())
        if whole:
            sizes = *self.policy.hidden, len(rows)
            self._active = [torch.arange(k, device=mask.device) for k in sizes]
            self.network = self.policy
            self.head = self._task_head
            self.mask = None if binary and units.all() else mask
        else:
            self._active = active_rows(self.policy, Share(units, self._task_head))
            widths = [len(units) for units in self._active[:-1]]
            padded = [n + -n % self.multiple for n in widths]
            hidden = list(map(min, padded, self.policy.hidden))
            self.network = self.policy.with_hidden(hidden, heads=1)
            self.head = 0
            if self.multiple > 1:
                self.network.body.units = self.units()[: self.network.hidden[0]]
            self.network.load_state_dict(self.gathered(self._full_weights()))
            self.mask = None if binary else self.select(mask)
        here = [*units.split(self.policy.hidden), rows] if whole else self._active
        self._places = [
            part.nonzero().squeeze(-1) if whole else torch.arange(len(part), device=mask.device)
            for part in here
        ]
        self._weights = dict(self.network.named_parameters())
        scale = self.gathered(self._full_scale)
        self._constant = multipliers(scale, self._rest, self._weights)
        self._noise = self.gathered(self._full_noise)
        members = membership(self.policy, units, rows)
        self.fixed = self._gather_fixed(members)
        # what has left the sub-network no longer moves: its average is what it is
        weights = self._full_weights()
        self._full_average = {
            k: torch.where(members[k], mean, weights[k]) for k, mean in self._full_average.items()
        }
        self.average = list(self.gathered(self._full_average).values())
        self.states = [{k: self._cut(v) for k, v in state.items()} for state in self._full_states]
        self._finished: dict[int, FinishedNetwork] = {}  # by identity of the share
        self.optimiser = Adam(self._weights.values(), self.learning_rate)
        self.optimiser.count_from(self._steps)
        self._restore_moments(members)

    @property
    def places(self) -> list[Tensor]:
        """Where the task's units are in each hidden layer of the network in training; last, the
        rows of its head.
        """
        return self._places

    @property
    def members(self) -> list[Tensor]:
        """The same by the meta-policy's numbers."""
        return [numbers[places] for numbers, places in zip(self._active, self._places)]

    def start(self, name: str) -> Tensor:
        """A parameter's values as the task began, in the meta-policy's shape."""
        return self._full_start[name]

    def weights(self) -> dict[str, nn.Parameter]:
        """Parameters of the network in training, by name."""
        return self._weights

    def select(self, mask: Tensor) -> Tensor:
        """The entries of a mask [sum(hidden)] that belong to the network in training, and zeros
        for units that pad it.
        """
        if self.network is self.policy:
            return mask
        layers = zip(mask.split(self.policy.hidden), self._active)
        return pad_layers([layer[units] for layer, units in layers], self.network.hidden)

    def units(self) -> Tensor:
        """1 for every unit of the network in training, 0 for those that pad it."""
        return self.select(self.policy.mean.weight.new_ones(sum(self.policy.hidden)))

    def __call__(self, observation: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """loc, scale [*, action_dim] of the sub-network; `mask` (selected) replaces its own."""
        inputs = observation, self.mask if mask is None else mask, self.head
        read = self._read()
        return functional_call(self.network, read, inputs) if read else self.network(*inputs)

    def _read(self) -> dict[str, Tensor]:
        """What the policy reads in place of weights that are multiplied or drawn, by name."""
        factors = self._constant if self.multipliers is None else self.multipliers()
        read = {name: self._weights[name] * factor for name, factor in factors.items()}
        for name, noise in self._noise.items():
            mean, deviation = read.get(name, self._weights[name]), self._weights[name + DEVIATION]
            read[name] = mean + deviation.exp() * noise
        return read

    def draw(self) -> None:
        """Draws Gaussian weights anew; where weights are numbers it does nothing."""
        if self.policy.deviation is None:
            return
        self._full_noise = self._draw_noise()
        self._noise = self.gathered(self._full_noise)

    def _draw_noise(self) -> dict[str, Tensor]:
        """Standard normal, in the meta-policy's shapes, by the name of a Gaussian weight."""
        if self.policy.deviation is None:
            return {}
        return {
            name: torch.randn(weight.shape, generator=self.generator).to(weight)
            for name, weight in self._full_weights().items()
            if not name.endswith(DEVIATION)
        }

    def acting(self) -> MetaPolicy:
        """The network in training with the weights that it reads: itself where they are its own."""
        if not (self._constant or self.multipliers or self._noise):
            return self.network
        network = self.network.with_hidden(self.network.hidden)
        network.body.units = self.network.body.units
        with torch.no_grad():
            network.load_state_dict(self._weights | self._read())
        return network

    def of_share(self, share: Share) -> Policy:
        """A task's policy with today's weights, differentiable by those in training."""
        if self.network is self.policy:
            full, mask = share.weights(self._weights), share.units.to(self.policy.mean.weight)
            return lambda x: functional_call(self.policy, full, (x, mask, share.head))
        if id(share) not in self._finished:
            self._finished[id(share)] = FinishedNetwork(self.policy, share, self._active)
        own = {k: unpadded(w, self._own_shape(k, w.shape)) for k, w in self._weights.items()}
        return self._finished[id(share)].policy(own)

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One guarded Adam step (Eq. 4 of CoTASP where the guard is `freeze`'s)."""
        guarded = (
            gradients[name].masked_fill(self.fixed[name], 0.0)
            if name in self.fixed
            else gradients[name]
            for name in self._weights
        )
        self.optimiser.step(clipped(list(guarded), self.clip))
        weight = averaging_weight(self.decay, self.optimiser.steps)
        average_(self.average, self.optimiser.parameters, weight)

    @torch.no_grad()
    def renew_members(self, values: Mapping[str, Tensor]) -> None:
        """The same as `renew`, of the weights between `members`, by parameter's name."""
        weights = {name: self._weights[name].detach().clone() for name in values}
        scatter_(weights, values, self.axes, self._places)
        self.renew(weights)

    @torch.no_grad()
    def renew(self, values: Mapping[str, Tensor]) -> None:
        """Gives weights new values where the guard allows, and forgets their moments there.

        Args:
            values: by parameter's name, in the network's shapes.
        """
        for i, (name, weight) in enumerate(self._weights.items()):
            if name not in values:
                continue
            inside = torch.zeros_like(weight, dtype=torch.bool)  # and not what pads
            unpadded(inside, self._own_shape(name, weight.shape)).fill_(True)
            changed = (values[name] != weight) & inside
            if name in self.fixed:
                changed &= ~self.fixed[name]
            weight.copy_(torch.where(changed, values[name], weight))
            for moments in self.optimiser.moments.values():
                moments[i].masked_fill_(changed, 0.0)
            if self.average:
                self.average[i].copy_(torch.where(changed, weight, self.average[i]))

    def averaged(self) -> MetaPolicy:
        """The meta-policy with averaged weights: itself without averaging; written back first."""
        if not self._full_average:
            return self.policy
        policy = self.policy.with_hidden(self.policy.hidden)
        policy.load_state_dict(self._full_average)
        return policy

    def keep_average(self) -> None:
        """Gives the meta-policy the averaged weights, once written back."""
        if self._full_average:
            self.policy.load_state_dict(self._full_average)

    def write_back(self) -> None:
        """Copies weights and Adam moments into the meta-policy's shape, and notes its steps."""
        self._steps = self.optimiser.steps
        self._scatter(self._full_average, dict(zip(self._full_average, self.average)))
        for key, moments in self.optimiser.moments.items():
            full = {k: torch.zeros_like(p) for k, p in self._full_weights().items()}
            self._scatter(full, dict(zip(self._weights, moments)))
            self._moments[key] = full
        if self.network is not self.policy:
            self._scatter(self._full_weights(), self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The cut and the optimiser's state, once written back; weights are the meta-policy's."""
        mask, full = self._cut_by
        return {
            "mask": mask,
            "full": full,
            "steps": self._steps,
            "moments": self._moments,
            "average": self._full_average,
            "noise": self._full_noise,
        } | ({"start": self._full_start} if self.keeps_start else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Cuts as `state_dict` found it, from the meta-policy's weights; `begin_task` first.

        Raises:
            RunError: the state is of another network.
        """
        device = next(self.policy.parameters()).device
        check_shapes("mask", {"mask": state["mask"]}, {"mask": [sum(self.policy.hidden)]})
        shapes = {name: weight.shape for name, weight in self._full_weights().items()}
        for key, tensors in state["moments"].items():
            check_shapes(f"moments {key}", tensors, shapes)
        _restore("average", state["average"], self._full_average)
        if "start" in state and self.keeps_start:  # other renewals may have begun the task
            _restore("start", state["start"], self._full_start)
        _restore("noise", state["noise"], self._full_noise)
        self._steps = int(state["steps"])
        self._moments = {
            key: {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}
            for key, tensors in state["moments"].items()
        }
        self.cut(state["mask"].to(device, copy=True), bool(state["full"]))

    def _full_weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.policy.named_parameters()}

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of tensors in the meta-policy's shapes, in those of the network in training."""
        return self._padded(gather(tensors, self.axes, self._active))

    def _cut(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors in their parameters' shapes gathered, all others as they are."""
        shapes = {name: weight.shape for name, weight in self.policy.named_parameters()}
        alike = {k: t for k, t in tensors.items() if shapes.get(k) == t.shape}
        if self.network is self.policy:
            return dict(tensors)
        return {**tensors, **self.gathered(alike)}

    def _own_shape(self, name: str, shape: Sequence[int]) -> list[int]:
        """Of a parameter of the network in training, without its padding."""
        ends = zip(self.axes[name], shape)
        return [n if layer is None else len(self._active[layer]) for layer, n in ends]

    def _padded(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shapes = {name: weight.shape for name, weight in self.network.named_parameters()}
        return {k: t if t.shape == shapes[k] else pad(t, shapes[k]) for k, t in tensors.items()}

    def _scatter(self, into: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
        """Writes tensors in the shapes of the network in training to those of the meta-policy."""
        values = {}
        for name, tensor in tensors.items():
            values[name] = unpadded(tensor, self._own_shape(name, tensor.shape))
        scatter_(into, values, self.axes, self._active)

    def _gather_fixed(self, members: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Per parameter in training, true where it may not step; free ones are left out."""
        allowed = members
        if self._guard is not None:
            allowed = {name: mine & self._guard[name] for name, mine in allowed.items()}
        allowed = gather(allowed, self.axes, self._active)
        return self._padded({name: ~mine for name, mine in allowed.items() if not mine.all()})

    def _restore_moments(self, members: Mapping[str, Tensor]) -> None:
        for key, full in self._moments.items():
            inside = {name: moment * members[name] for name, moment in full.items()}
            mine = self.gathered(inside)
            for name, moment in zip(self._weights, self.optimiser.moments[key]):
                moment.copy_(mine[name])


def _restore(what: str, saved: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Copies saved tensors to those of their names; RunError unless they are of the same shapes."""
    check_shapes(what, saved, {name: tensor.shape for name, tensor in into.items()})
    for name, tensor in saved.items():
        into[name].copy_(tensor)
