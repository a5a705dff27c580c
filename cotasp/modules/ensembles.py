"""Critics at given weights: what losses ask of them, whatever the family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cotasp.errors import PluginError, component_errors

Pullback = Callable[[Tensor], Tensor]


class Ensemble(Protocol):
    """Twin critics bound to their weights, of one learner or, with [learners] in front, of many.

    `compiles` says whether `torch.compile` makes one graph of the methods.  It may be
    `Adapts`, too.
    """

    compiles: bool

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values [*, n, B] of observations [*, B, in_features] and actions [*, B, action_dim]."""

    def action_vjp(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Pullback]:
        """The values [*, n, B], and what turns a slope [*, n, B] into the gradient of
        sum(slope * values) by the actions, [*, B, action_dim]; that can be called once.
        """

    def loss_and_gradients(
        self, observation: Tensor, action: Tensor, target: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss [*] against targets [*, B], summed over members and averaged over rows, and its
        gradients by the parameters, in their order.
        """


@runtime_checkable
class Headed(Protocol):
    """Critics of which a task can have a last layer of its own."""

    def head_names(self) -> list[str]:
        """Names of the last layer's parameters."""
        ...


@runtime_checkable
class Adapts(Protocol):
    """Critics that follow what they are fitted to by more than gradients."""

    def adapt(self, observation: Tensor, target: Tensor) -> None:
        """Takes note of targets [*, B], in place, before they are fitted to."""
        ...


def fit(
    critics: Ensemble, observation: Tensor, action: Tensor, target: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """`Ensemble.loss_and_gradients`, for which critics that adapt do so first."""
    if isinstance(critics, Adapts):
        critics.adapt(observation, target)
    return critics.loss_and_gradients(observation, action, target)


def bind(critics: nn.Module, parameters: Sequence[Tensor] | None = None) -> Ensemble:
    """The ensemble that critics write out themselves, in a method `ensemble`, or `Autograd`.

    Args:
        critics: what a `cotasp.modules.specs.Critic` builds.
        parameters: in the order of `critics.parameters()`, possibly with [learners] in front;
            None: those of `critics`.
    """
    write_out = getattr(critics, "ensemble", None)
    return Autograd(critics, parameters) if write_out is None else write_out(parameters)


class Autograd:
    """Any module's values, fitted to targets by squared error; see `Ensemble`.

    Args:
        critics: whose forward(observation [B, in_features], action [B, action_dim]) gives values
            [n, B]; all its parameters are trained, its buffers stay.
        parameters: see `bind`.
    """

    compiles = False  # torch.compile makes no graph of a gradient taken inside

    def __init__(self, critics: nn.Module, parameters: Sequence[Tensor] | None = None) -> None:
        own = dict(critics.named_parameters())
        values = list(own.values()) if parameters is None else parameters
        self.critics = critics
        self.weights = {name: weight.detach() for name, weight in zip(own, values)}
        stacked = any(weight.ndim > own[name].ndim for name, weight in self.weights.items())
        call = partial(functional_call, critics)
        self._call: Callable[..., Tensor] = torch.vmap(call) if stacked else call

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        return self._values(self.weights, observation, action)

    def action_vjp(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Pullback]:
        with torch.enable_grad():
            action = action.detach().requires_grad_()
            values = self._values(self.weights, observation, action)

        def pullback(slope: Tensor) -> Tensor:
            return torch.autograd.grad(values, action, slope)[0]

        return values.detach(), pullback

    def loss_and_gradients(
        self, observation: Tensor, action: Tensor, target: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        with torch.enable_grad():
            weights = {k: weight.detach().requires_grad_() for k, weight in self.weights.items()}
            error = self._values(weights, observation, action) - target.unsqueeze(-2)
            loss = error.square().mean(-1).sum(-1)
            # a weight without influence is no mistake: its gradient is 0
            gradients = torch.autograd.grad(
                loss.sum(), list(weights.values()), materialize_grads=True
            )
        return loss.detach(), list(gradients)

    def _values(self, weights: dict[str, Tensor], observation: Tensor, action: Tensor) -> Tensor:
        with component_errors("critic", self.critics):
            values = self._call(weights, (observation, action))
        rows = observation.shape[-2]
        if values.ndim != observation.ndim or values.shape[-1] != rows:  # it would broadcast
            name = type(self.critics).__name__
            raise PluginError(
                f"critic {name}: expected values of shape [n, {rows}] for {rows} rows, got "
                f"{list(values.shape)}; let `forward` return a row per member"
            )
        return values
