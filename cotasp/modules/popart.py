"""Twin critics whose targets are normalised, task by task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cotasp.modules.critics import Critics, Layers
from cotasp.modules.ensembles import Pullback
from cotasp.modules.heads import SquaredError


class PopArtCritics(nn.Module):
    """Critics with an output, a mean and a deviation for each of several tasks.

    See `cotasp.modules.specs.PopArtCritic`.  Statistics are parameters that take no gradient, so
    that they are saved, stacked and followed by targets as weights are.

    Args:
        critics: plain ones, with an output per task, whose observations end with the task, one-hot,
            where there are several.
        rate: at which statistics move.
        low, high: between which deviations lie.
    """

    def __init__(self, critics: Critics, rate: float, low: float, high: float) -> None:
        super().__init__()
        self.critics = critics
        self.rate = rate
        self.low, self.high = low, high
        tasks = critics.sizes[-1]
        self.mean = nn.Parameter(torch.zeros(tasks), requires_grad=False)
        self.square = nn.Parameter(torch.ones(tasks), requires_grad=False)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values of the members, [n, B], of observations [B, in_features] and actions."""
        return self.ensemble().values(observation, action)

    def ensemble(self, parameters: Sequence[Tensor] | None = None) -> PopArt:
        """The same function of these weights or of others, possibly with [learners] in front."""
        if parameters is None:
            parameters = list(self.parameters())  # of which its own, the statistics, come first
        mean, square, *weights = parameters
        return PopArt(self, weights, mean, square)

    def head_names(self) -> list[str]:
        """Names of the last layer's parameters, and of its statistics."""
        return [*(f"critics.{name}" for name in self.critics.head_names()), "mean", "square"]


class PopArt:
    """`PopArtCritics` at given weights; see `cotasp.modules.ensembles.Ensemble`.

    Args:
        critics: whose settings count.
        weights: of its plain critics.
        mean, square: of targets and of their squares, [*, tasks].
    """

    compiles = False  # statistics are moved in place

    def __init__(
        self, critics: PopArtCritics, weights: Sequence[Tensor], mean: Tensor, square: Tensor
    ) -> None:
        self.critics = critics
        self.layers: Layers = critics.critics.ensemble(weights).layers
        self.mean, self.square = mean, square
        self.error = SquaredError()

    def deviation(self) -> Tensor:
        """sigma = sqrt(nu - mu^2), within bounds, [*, tasks]."""
        variance = self.square - self.mean.square()
        return variance.clamp(min=0.0).sqrt().clamp(self.critics.low, self.critics.high)

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        outputs, _ = self.layers.taped(observation, action)
        turn = self._turn(observation)
        deviation, mean = (self._of(x, turn) for x in (self.deviation(), self.mean))
        return self._own(outputs, turn) * deviation + mean

    @torch.no_grad()
    def action_vjp(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Pullback]:
        outputs, tape = self.layers.taped(observation, action)
        turn = self._turn(observation)
        deviation = self._of(self.deviation(), turn)

        def pullback(slope: Tensor) -> Tensor:
            each = (slope * deviation).unsqueeze(-1) * turn
            return self.layers.action_gradient(tape, each, action.shape[-1])

        return self._own(outputs, turn) * deviation + self._of(self.mean, turn), pullback

    @torch.no_grad()
    def loss_and_gradients(
        self, observation: Tensor, action: Tensor, target: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        outputs, tape = self.layers.taped(observation, action)
        turn = self._turn(observation)
        mean, deviation = (self._of(x, turn).squeeze(-2) for x in (self.mean, self.deviation()))
        own = self._own(outputs, turn).unsqueeze(-1)
        loss, slope = self.error.loss(own, (target - mean) / deviation)
        gradients = self.layers.gradients(tape, slope * turn)
        return loss, [torch.zeros_like(self.mean), torch.zeros_like(self.square), *gradients]

    @torch.no_grad()
    def adapt(self, observation: Tensor, target: Tensor) -> None:
        """Moves the statistics of the tasks that have rows, and the last layer against them, so
        that no value changes.

        Args:
            observation: [*, B, in_features].
            target: [*, B].
        """
        turn = self._turn(observation).squeeze(-3)
        rows = turn.sum(-2)
        rate = self.critics.rate * (rows > 0).to(rows.dtype)
        mean, deviation = self.mean.clone(), self.deviation()
        for statistic, of in ((self.mean, target), (self.square, target.square())):
            latest = (turn * of.unsqueeze(-1)).sum(-2) / rows.clamp(min=1.0)
            statistic.add_(rate * (latest - statistic))
        now = self.deviation()
        ratio, shift = deviation / now, (mean - self.mean) / now
        self.layers.weights[-1].mul_(ratio[..., None, None, :])
        self.layers.biases[-1].mul_(ratio[..., None, None, :]).add_(shift[..., None, None, :])

    def _turn(self, observation: Tensor) -> Tensor:
        """One-hot, whose row it is, [*, 1, B, tasks]."""
        tasks = self.mean.shape[-1]
        if tasks == 1:
            return torch.ones_like(observation[..., :1]).unsqueeze(-3)
        return observation[..., -tasks:].unsqueeze(-3)

    @staticmethod
    def _own(outputs: Tensor, turn: Tensor) -> Tensor:
        """Of outputs [*, n, B, tasks], that of each row's task, [*, n, B]."""
        return (outputs * turn).sum(-1)

    @staticmethod
    def _of(statistic: Tensor, turn: Tensor) -> Tensor:
        """Of a statistic [*, tasks], that of each row's task, [*, 1, B]."""
        return (statistic[..., None, None, :] * turn).sum(-1)
