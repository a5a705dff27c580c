"""Mask policies: what a task's code says about which neurons are its own.

A mask policy maps a code [*, K] to a mask [*, K] with entries in [0, 1].  Masks multiply the
neurons' outputs (Eq. 2 of CoTASP, arXiv 2305.18444), so their gradient rule decides how the
code can be trained; each policy states its own in the attribute `gradient`:

- `"none"`: the code receives no gradient;
- `"clipped"`: derivative 1 where the neuron is active and 0 < s < 1, else 0;
- `"identity"`: derivative 1 everywhere: training can also switch neurons on;
- `"smooth"`: the mask's own derivative.

A policy is `local` when a neuron's mask depends on its own code alone.  Where a local policy is
clipped, training can only switch neurons off, and a compact sub-network carries the whole gradient.
What else a policy may do: `mask_capabilities.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.ranges import Count, Positive, PositiveShare

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.modules.specs import ActorSpec

StraightThrough = Literal["clipped", "identity"]


@runtime_checkable
class MaskPolicy(Protocol):
    """Maps the code of one layer to its mask."""

    @property
    def gradient(self) -> str:
        """The rule by which the code is trained, see the module's docstring."""
        ...

    @property
    def local(self) -> bool:
        """Whether a neuron's mask depends on its own code alone."""
        ...

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        """The mask of a code.

        Args:
            code: [*, K], floating point.
            progress: how much of the task's training is done, in [0, 1]; at 1 every policy's
                mask is binary, and that is the mask a finished task keeps.

        Returns:
            [*, K], in [0, 1], dtype of `code`.
        """
        ...


@dataclass(frozen=True)
class Step:
    """phi = 1[s > 0], trained by a straight-through estimator (CoTASP, Eq. 2).

    Args:
        gradient: `"clipped"` (the reference code's rule) or `"identity"` (the paper's).
    """

    local: ClassVar[bool] = True
    gradient: StraightThrough = "clipped"

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        from cotasp.modules.straight_through import straight_through

        return straight_through(code, code > 0, self.gradient)


@dataclass(frozen=True)
class TopK:
    """The k largest positive entries of the code: sub-networks of at most k neurons per layer.

    Args:
        k: neurons per layer and task, at least 1.
        gradient: as in `Step`.
    """

    local: ClassVar[bool] = False
    k: Count = 128
    gradient: StraightThrough = "clipped"

    def __post_init__(self):
        check_fields(self)

    def check_actor(self, actor: ActorSpec) -> None:
        """Every layer has k neurons."""
        if self.k > min(actor.hidden):
            raise RecipeError(
                f"mask.k: expected at most {min(actor.hidden)}, the smallest width in "
                f"actor.hidden, got {self.k}"
            )

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        import torch

        from cotasp.modules.straight_through import straight_through

        if self.k > code.shape[-1]:
            raise RecipeError(
                f"TopK.k: expected at most the layer's width {code.shape[-1]}, got {self.k}"
            )
        largest = code.detach().topk(self.k, dim=-1).indices
        chosen = torch.zeros_like(code, dtype=torch.bool).scatter_(-1, largest, True)
        return straight_through(code, chosen & (code > 0), self.gradient)


@dataclass(frozen=True)
class Sigmoid:
    """phi = sigmoid((s - threshold) / T): soft while training, annealed to a step at its end.

    T falls geometrically from `start` to `stop` with progress p, T = start^(1-p) stop^p, and the
    mask of a finished task (p = 1) is 1[s > threshold], as in hard attention to the task
    (HAT, arXiv 1801.01423), whose codes are not sparse.

    Args:
        threshold: code value at which a neuron counts as active; above 0, because most
            entries of a lasso code are exactly 0 and must end switched off.
        start: temperature at the beginning of a task, in units of the code.
        stop: temperature at its end, 0 < stop <= start.
    """

    gradient: ClassVar[str] = "smooth"
    local: ClassVar[bool] = True
    threshold: Positive = 5e-4
    start: float = 1e-2
    stop: float = 1e-4

    def __post_init__(self):
        check_fields(self)
        if not 0 < self.stop <= self.start:
            raise RecipeError(
                f"Sigmoid.stop: expected 0 < stop <= start, got stop {self.stop} "
                f"and start {self.start}"
            )

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        if progress >= 1.0:
            return (code > self.threshold).to(code.dtype)
        temperature = self.start ** (1.0 - progress) * self.stop**progress
        return ((code - self.threshold) / temperature).sigmoid()


@dataclass(frozen=True)
class RandomMask:
    """A random sub-network per code: the allocation control that knows no similarity.

    The neurons are drawn by a generator seeded with the code's support, so that the same text
    always gives the same mask; no gradient reaches the code, which therefore stays as it is.

    Args:
        density: fraction of a layer's neurons that are active, in (0, 1].
        seed: varies the draw.
    """

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = False
    density: PositiveShare = 0.15
    seed: int = 0

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        import zlib

        import torch

        rows = code.detach().reshape(-1, code.shape[-1])
        mask = torch.zeros_like(rows)
        active = max(1, round(self.density * rows.shape[1]))
        for support, out in zip((rows != 0).cpu(), mask):
            seed = zlib.crc32(support.numpy().tobytes(), self.seed & 0xFFFFFFFF)
            generator = torch.Generator().manual_seed(seed)
            out[torch.randperm(len(support), generator=generator)[:active].to(out.device)] = 1.0
        return mask.reshape(code.shape)


@dataclass(frozen=True)
class Dense:
    """phi = 1: every task uses the whole network (fine-tuning, EWC)."""

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = True
    shares_everything: ClassVar[bool] = True

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        import torch

        return torch.ones_like(code.detach())


@dataclass(frozen=True)
class Copies:
    """phi = 1, and every task keeps a copy of the network: nothing is shared, nothing forgotten.

    Independent learners (`anew`), or a network per task that begins as the last one ended.  What is
    stored grows by a whole network per task.

    Args:
        anew: whether a task's network begins with newly drawn weights, or with those that the task
            before it ended with.
    """

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = True
    anew: bool = True

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        return Dense()(code, progress)
