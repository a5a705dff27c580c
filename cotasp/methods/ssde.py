"""Two prompts per task, frozen weights damped, and insensitive units begun again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.ranges import Count, NonNegative, Positive, Share

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.methods.renewal import Network
    from cotasp.modules.mask_capabilities import Beginning


@dataclass(frozen=True)
class SSDE:
    """phi = max(1[a > 0], 1[r > 0]), of two prompts; frozen weights count beta times (SSDE).

    a is the text's prompt from the run's dictionaries, the same for equal texts, and r its prompt
    from dictionaries R drawn for this task alone, r = argmin 1/2 ||e - r R||^2 + lambda ||r||_1,
    where lambda falls linearly from the first task's to the last one's, so that later tasks, who
    find more frozen, get more units.  A hidden layer's weights and biases that may not move in a
    task are multiplied by beta in it, and in its policy ever after (arXiv 2503.05246).  Goes with
    `freeze`, the renewal `sensitivity`, and codes and dictionaries that stay (`agent.code_updates:
    0`, `dictionary.update: frozen`).

    Args:
        beta: what multiplies frozen weights, above 0.
        first_lmbda: lambda of the first task, above 0.
        last_lmbda: lambda of the last one, above 0.
    """

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = True
    beta: Positive = 0.3
    first_lmbda: Positive = 1e-2
    last_lmbda: Positive = 1e-4

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        return (code.detach() > 0).to(code.dtype)

    def first_code(self, task: Beginning) -> Tensor:
        import torch

        from cotasp.dictionaries import Dictionary, sparse_encode

        lmbda = self.first_lmbda + (self.last_lmbda - self.first_lmbda) * task.number / max(
            1, task.tasks - 1
        )
        codes = []
        for width in task.hidden:
            seed = int(torch.randint(2**31, (), generator=task.generator))
            atoms = Dictionary(width, len(task.embedding), seed=seed).atoms
            codes.append(sparse_encode(task.embedding[None].double(), atoms, lmbda=lmbda).code[0])
        return torch.maximum(task.prompt, torch.cat(codes).to(task.prompt))

    def scale(self, fixed: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], float]:
        return {k: ~there for k, there in fixed.items() if k.startswith("body.")}, self.beta


@dataclass(frozen=True)
class Sensitivity:
    """Gives units that hardly react to observations the weights of their task's start (SSDE).

    A unit reacts by the mean of |y(o') - y(o)| over a batch, over the mean of its layer; o' is o
    and `shift` times the batch's mean of o.  Below `threshold`, its incoming weights become those
    that the task began with, where they may move (arXiv 2503.05246).

    Args:
        every: updates of the weights between two looks, at least 1.
        threshold: at least 0.
        shift: other than 0.
        until: share of a task after which it is left alone, in [0, 1].
    """

    asks: ClassVar[tuple[str, ...]] = ("start",)
    every: Count = 80_000
    threshold: NonNegative = 0.6
    shift: float = 0.01
    until: Share = 0.65

    def __post_init__(self):
        check_fields(self)
        if not self.shift:
            raise RecipeError("shift: expected another number than 0, got 0")

    def renew(self, network: Network) -> Mapping[str, Tensor]:
        if network.progress > self.until:
            return {}
        observations = network.observations
        shifted = observations + self.shift * observations.mean(0)
        outputs = zip(network.activations(observations), network.activations(shifted))
        new = {}
        for (rows, _), (here, there) in zip(network.units, outputs):
            change = (there - here).abs().mean(0)
            dormant = change < self.threshold * change.mean()
            for name in rows:
                new[name] = network.weights[name].clone()
                new[name][dormant] = network.start(name)[dormant]
        return new
