"""The networks' recipe nodes: sizes and shapes, without the networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn

    from cotasp.modules.critics import Critics
    from cotasp.modules.policy import MetaPolicy

Activation = Literal["leaky_relu", "relu", "tanh", "gelu"]
_MOST_LAYERS, _WIDEST = 64, 65_536  # beyond, a slip of the pen fills the memory


def _check_widths(owner: str, hidden: tuple[int, ...]) -> None:
    if not 1 <= len(hidden) <= _MOST_LAYERS or min(hidden) < 1:
        raise RecipeError(
            f"{owner}.hidden: expected at least one width, each at least 1, and at most "
            f"{_MOST_LAYERS} of them, got {str(list(hidden))[:60]}"
        )
    if max(hidden) > _WIDEST:
        raise RecipeError(f"{owner}.hidden: expected at most {_WIDEST}, got {max(hidden)}")


@dataclass(frozen=True)
class ActorSpec:
    """Shape of the meta-policy; the defaults are the paper's.  See `MetaPolicy` for the fields."""

    hidden: tuple[int, ...] = (1024, 1024, 1024, 1024)
    activation: Activation = "leaky_relu"
    std: Literal["exp", "softplus"] = "softplus"
    log_std_range: tuple[float, float] = (-2.0, 2.0)
    squash_mean: bool = True
    head_scale: float = 1e-4

    def __post_init__(self):
        _check_widths("ActorSpec", self.hidden)
        if self.head_scale <= 0:
            raise RecipeError(f"ActorSpec.head_scale: expected above 0, got {self.head_scale}")
        if not self.log_std_range[0] < self.log_std_range[1]:
            raise RecipeError(
                f"ActorSpec.log_std_range: expected [low, high], got {list(self.log_std_range)}"
            )

    def build(self, in_features: int, action_dim: int) -> MetaPolicy:
        """A freshly initialised meta-policy (from torch's global random state)."""
        from cotasp.modules.policy import MetaPolicy

        return MetaPolicy(in_features, action_dim, **vars(self))


class Critic(Protocol):
    """A family of twin critics: makes the networks that value an observation and an action."""

    def build(self, in_features: int, action_dim: int) -> nn.Module:
        """Freshly initialised twin critics (from torch's global random state).

        A module whose forward(observation [B, in_features], action [B, action_dim]) gives values
        [2, B]; see `cotasp.modules.ensembles.Ensemble` for what it may write out besides.
        """


@dataclass(frozen=True)
class MLPCritic:
    """Plain layers: products, layer normalisation, activations.

    Normalised layers keep critics from overestimating far from their data: DroQ (arXiv
    2110.02034), RLPD (arXiv 2302.02948).

    Args:
        hidden: widths of the hidden layers.
        activation: of the hidden layers.
        norm: which hidden layers are normalised before their activation: all, none, or the first
            alone, whose activation then is tanh, as in CoTASP's reference code.
    """

    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"
    norm: Literal["all", "first", "none"] = "all"

    def __post_init__(self):
        _check_widths("MLPCritic", self.hidden)

    def build(self, in_features: int, action_dim: int) -> Critics:
        from cotasp.modules.critics import Critics

        return Critics(in_features, action_dim, **vars(self))
