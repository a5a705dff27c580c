"""Tensors and optimisers of several networks, one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from cotasp.methods.adam import Adam
from cotasp.modules.subnetwork import pad, unpadded


class StackedAdam:
    """One Adam for the parameters of several, which are copied until `write_back`.

    Args:
        optimisers: after equally many steps.
    """

    def __init__(self, optimisers: Sequence[Adam]) -> None:
        shared = [stack(same) for same in zip(*(x.parameters for x in optimisers))]
        self.parameters = [parameter.requires_grad_() for parameter in shared]
        self.adam = Adam(self.parameters, optimisers[0].learning_rate)
        self.step = self.adam.step
        self.load(optimisers)

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self.adam.steps

    def is_current(self, optimisers: Sequence[Adam]) -> bool:
        """Whether these are the ones that were loaded, after the steps that were made here."""
        steps = self.adam.steps
        return all(a is b and a.steps == steps for a, b in zip(self.optimisers, optimisers))

    @torch.no_grad()
    def load(self, optimisers: Sequence[Adam]) -> None:
        """Copies parameters, moments and steps of optimisers of the same or smaller shapes."""
        self.optimisers = optimisers
        mine, theirs = self._tensors(self.adam), list(map(self._tensors, optimisers))
        for into, same in zip(mine, zip(*theirs)):
            stack(same, into)
        self.adam.count_from(optimisers[0].steps)
        self._back = WriteBack(mine, theirs)

    def write_back(self) -> None:
        """Copies parameters, moments and steps to those they came from."""
        self.adam.steps = int(self.adam.count)  # played from a graph, Python has not counted them
        self._back()
        for optimiser in self.optimisers:
            optimiser.count_from(self.adam.steps)

    @staticmethod
    def _tensors(adam: Adam) -> list[Tensor]:
        return [*adam.parameters, *chain(*adam.moments.values())]


def stack(tensors: Sequence[Tensor], into: Tensor | None = None) -> Tensor:
    """Tensors that differ in sizes as one, [n, *], padded with zeros at the ends.

    Args:
        tensors: of equally many dimensions.
        into: to be overwritten with the result; may be larger.
    """
    largest = [max(sizes) for sizes in zip(*(t.shape for t in tensors))]
    shape = largest if into is None else into.shape[1:]
    padded = [t if t.shape == torch.Size(shape) else pad(t, shape) for t in tensors]
    return torch.stack(padded) if into is None else torch.stack(padded, out=into)


class WriteBack:
    """Copies what `stack` made, of several, to each of those it came from.

    Args:
        stacked: what was made, [n, *] each.
        tensors: what it came from, [n][several].
    """

    def __init__(self, stacked: Sequence[Tensor], tensors: Sequence[Sequence[Tensor]]) -> None:
        # views of thousands of tensors take longer to make than to copy
        self._into = [tensor.detach() for own in tensors for tensor in own]
        self._parts = [
            unpadded(a.detach()[i], b.shape)
            for i, own in enumerate(tensors)
            for a, b in zip(stacked, own)
        ]

    def __call__(self) -> None:
        torch._foreach_copy_(self._into, self._parts)
