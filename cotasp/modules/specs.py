"""The networks' recipe nodes: sizes and shapes, without the networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.modules.shapes import (
    MOST_LAYERS,
    WIDEST,
    Activation,
    Norm,
    check_actor,
    check_widths,
)
from cotasp.ranges import Positive, PositiveShare, Range

if TYPE_CHECKING:
    from torch import nn

    from cotasp.modules.critics import Critics
    from cotasp.modules.policy import MetaPolicy
    from cotasp.modules.popart import PopArtCritics
    from cotasp.modules.residual import ResidualCritics


@dataclass(frozen=True)
class ActorSpec:
    """Shape of the meta-policy; see `MetaPolicy` for the fields.

    The widths are the paper's; its reference code has a `softplus` deviation, log_std in [-2, 2], a
    squashed mean and heads near 0 (`recipes/reference_cw10.yaml`).

    Args:
        norm: whether the `"first"` hidden layer is normalised over a task's units, or `"none"`.
        heads: `"shared"` by all tasks, so that a text alone can give a policy (CoTASP, HAT), or one
            pair `"per_task"`, as the methods of Continual World have (arXiv 2105.10919).
        deviation: standard deviation that every weight begins with, where weights are Gaussian and
            drawn anew for every update and all that is collected until the next, as in VCL (arXiv
            1710.10628): 0.05 there.  Policies are judged, and finished tasks keep them, by the
            means.  None: weights are numbers.
    """

    hidden: tuple[int, ...] = (1024, 1024, 1024, 1024)
    activation: Activation = "leaky_relu"
    norm: Literal["first", "none"] = "first"
    std: Literal["exp", "softplus"] = "exp"
    log_std_range: tuple[float, float] = (-5.0, 2.0)
    squash_mean: bool = False
    head_scale: float = 1e-2
    heads: Literal["shared", "per_task"] = "shared"
    deviation: float | None = None

    def __post_init__(self):
        check_fields(self)
        check_actor("ActorSpec", **{k: v for k, v in vars(self).items() if k != "heads"})

    def build(self, in_features: int, action_dim: int, n_tasks: int = 1) -> MetaPolicy:
        """A freshly initialised meta-policy (from torch's global random state)."""
        from cotasp.modules.policy import MetaPolicy

        fields = {**vars(self), "heads": 1 if self.heads == "shared" else n_tasks}
        return MetaPolicy(in_features, action_dim, **fields)


class Critic(Protocol):
    """A family of twin critics: makes the networks that value an observation and an action."""

    def build(self, in_features: int, action_dim: int) -> nn.Module:
        """Freshly initialised twin critics (from torch's global random state).

        A module whose forward(observation [B, in_features], action [B, action_dim]) gives values
        [2, B] is enough: they are fitted by squared error, with gradients by autograd.  For another
        loss, or gradients of its own, it has a method `ensemble(parameters=None)`; see
        `cotasp.modules.ensembles`.
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
    norm: Norm = "all"

    def __post_init__(self):
        check_fields(self)
        check_widths("MLPCritic", self.hidden)

    def build(self, in_features: int, action_dim: int) -> Critics:
        from cotasp.modules.critics import Critics

        return Critics(in_features, action_dim, **vars(self))


@dataclass(frozen=True)
class ResidualCritic:
    """Residual blocks with layer normalisation (BroNet: BRO, arXiv 2405.16158).

    Its gradients are autograd's, and `agent.compile` leaves it as it is.

    Args:
        width: of all layers.
        blocks: of two layers each, between the first layer and the last.
    """

    width: Annotated[int, Range(1, WIDEST)] = 256
    blocks: Annotated[int, Range(0, MOST_LAYERS)] = 1

    def __post_init__(self):
        check_fields(self)

    def build(self, in_features: int, action_dim: int) -> ResidualCritics:
        from cotasp.modules.residual import ResidualCritics

        return ResidualCritics(in_features, action_dim, **vars(self))


@dataclass(frozen=True)
class CategoricalCritic:
    """Histograms of the value, trained by cross-entropy (HL-Gauss, arXiv 2403.03950).

    Args:
        hidden, activation, norm: see `MLPCritic`.
        bins: of the histogram.
        low, high: between which values lie; those of rewards times `agent.reward_scale`, the
            entropy's bonus included.  Beyond, targets are cut: Meta-World's rewards of up to 10
            make values of up to 100 with `reward_scale: 0.1` and `gamma: 0.99`.
        sigma: deviation of the Gaussian around a target, in widths of a bin.
    """

    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"
    norm: Norm = "all"
    bins: Annotated[int, Range(2, WIDEST)] = 51
    low: float = -20.0
    high: float = 100.0
    sigma: Positive = 0.75

    def __post_init__(self):
        check_fields(self)
        check_widths("CategoricalCritic", self.hidden)
        if not self.low < self.high:
            raise RecipeError(f"high: expected above low, {self.low}, got {self.high}")

    def build(self, in_features: int, action_dim: int) -> Critics:
        from cotasp.modules.critics import Critics
        from cotasp.modules.heads import HLGauss

        head = HLGauss(self.bins, self.low, self.high, self.sigma)
        return Critics(
            in_features,
            action_dim,
            self.hidden,
            activation=self.activation,
            norm=self.norm,
            head=head,
        )


@dataclass(frozen=True)
class PopArtCritic:
    """Outputs that stand for normalised values, of each task by statistics of its own (PopArt).

    Q = sigma q + mu, where mu and nu follow the task's targets y and their squares,
    mu <- mu + rate (mean y - mu), nu <- nu + rate (mean y^2 - nu), sigma = sqrt(nu - mu^2), and q
    is fitted to (y - mu) / sigma.  As they move, the task's last layer is changed to
    w sigma / sigma', (sigma b + mu - mu') / sigma', so that every Q stays what it was (arXiv
    1602.07714, algorithm 1; of several tasks: arXiv 1809.04474).  Tasks of large returns then do
    not drown those of small ones in what they share.  Targets' statistics follow the critics' as
    their weights do.

    Args:
        hidden, activation, norm: see `MLPCritic`.
        tasks: learned together (`stream.together`), each with an output; 1: one for all.
        rate: at which statistics move, per update, in (0, 1].
        low, high: between which sigma lies.
    """

    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"
    norm: Norm = "all"
    tasks: Annotated[int, Range(1, WIDEST)] = 1
    rate: PositiveShare = 3e-4
    low: float = 1e-4
    high: float = 1e6

    def __post_init__(self):
        check_fields(self)
        check_widths("PopArtCritic", self.hidden)
        if not 0 < self.low < self.high:
            raise RecipeError(f"high: expected above low, above 0, got {self.low} and {self.high}")

    def build(self, in_features: int, action_dim: int) -> PopArtCritics:
        from cotasp.modules.critics import Critics
        from cotasp.modules.heads import SquaredError
        from cotasp.modules.popart import PopArtCritics

        critics = Critics(
            in_features,
            action_dim,
            self.hidden,
            activation=self.activation,
            norm=self.norm,
            head=SquaredError(self.tasks),
        )
        return PopArtCritics(critics, self.rate, self.low, self.high)
