"""What agents that learn by clipped ratios have in common: the recipe's fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.ranges import Count, Natural, NonNegative, Positive, Range, Share


@dataclass(frozen=True)
class OnPolicy:
    """Proximal policy optimisation with a clipped ratio (PPO, arXiv 1707.06347).

    Every batch of `frames_per_batch` steps makes one iteration: advantages by GAE (arXiv
    1506.02438), then some epochs of minibatches on

        L = -mean min(r A, clip(r, 1 - eps, 1 + eps) A) - entropy H,   r = pi(a|s) / pi_old(a|s),

    and on the squared error of a value network.  Time limits are bootstrapped.  Actions are tanh of
    a Gaussian's sample u; ratio and entropy are those of u's density.

    Args:
        learning_rate: Adam's, of the policy.
        value_learning_rate: Adam's, of the value network.
        code_learning_rate: Adam's, of the codes.
        epochs: passes over a batch that train the weights.
        code_epochs: passes that train the code, after those; none under masks without a gradient
            by the code.
        minibatches: that a batch is cut into, at random, for every pass; each is a row larger
            than another at most.
        clip_ratio: eps, how far a ratio may leave 1 and still count, above 0.
        clip: largest norm of the gradient of the policy's weights, as for `sac`; None: no limit.
        entropy: weight of the entropy bonus, in nats.
        gamma: discount factor per transition; None: fitted as for `sac`.
        gae_lambda: lambda of GAE, in [0, 1].
        reward_scale: multiplies, in training, the mean reward of a transition's environment steps.
        start: with which weights a task begins: those there are (`"kept"`), or ones drawn anew
            wherever the protection lets weights move (`"fresh"`).
        reset_std: whether the deviation's head is drawn anew with each task, so that it explores.
        value_start: as `start`, of the value network.
        value_warmup: passes over a task's first batch that fit the value network before its
            advantages are computed; with `comps` over each batch after a fast update, too.
        value_hidden: widths of the value network, whose activation is tanh.
        num_envs: environments that are stepped side by side; a batch has as many steps of each.
        execution: as for `sac`.
    """

    keeps_rows: ClassVar[bool] = False

    learning_rate: Positive = 1e-3
    value_learning_rate: Positive = 1e-3
    code_learning_rate: Positive = 1e-3
    epochs: Count = 5
    code_epochs: Natural = 0
    minibatches: Count = 2
    clip_ratio: Positive = 0.2
    clip: Positive | None = 0.5
    entropy: NonNegative = 0.0
    gamma: Share | None = None
    gae_lambda: Share = 0.95
    reward_scale: Positive = 1.0
    start: Literal["kept", "fresh"] = "kept"
    reset_std: bool = False
    value_start: Literal["kept", "fresh"] = "fresh"
    value_warmup: Natural = 0
    value_hidden: tuple[int, ...] = (64, 64)
    num_envs: Annotated[int, Range(1, 10_000)] = 1
    execution: Literal["compact", "dense"] = "compact"

    def __post_init__(self):
        check_fields(self)
        widths = self.value_hidden
        if not 1 <= len(widths) <= 64 or not all(1 <= width <= 65_536 for width in widths):
            raise RecipeError(
                f"value_hidden: expected 1 to 64 widths of 1 to 65536, got {str(widths)[:60]}"
            )
