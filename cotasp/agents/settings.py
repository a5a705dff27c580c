"""What off-policy agents have in common: the recipe's fields of experience, rates and phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.methods.problem import Problem, Sampling
from cotasp.modules.specs import Critic, MLPCritic
from cotasp.ranges import (
    Count,
    Natural,
    NonNegative,
    Positive,
    PositiveShare,
    Range,
    Share,
    ShareBelowOne,
)

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.agents.values import Values
    from cotasp.methods.batch import Batch
    from cotasp.methods.trained import TrainedActor
    from cotasp.modules.policy import Policy


@dataclass(frozen=True)
class ValuesSpec:
    """What critics bring along to a new task; their moments never.

    Args:
        carry: `"nothing"`: new critics and temperature (CoTASP, arXiv 2305.18444; HAT), or their
            `"weights"` (Continual World, arXiv 2105.10919).
        heads: of carried critics: `"shared"`, one last layer for all tasks, or `"per_task"`: each
            task begins with a last layer and a temperature of its own (Continual World's), which
            wait for it should it come back.
    """

    carry: Literal["nothing", "weights"] = "nothing"
    heads: Literal["shared", "per_task"] = "shared"

    def __post_init__(self):
        if self.heads == "per_task" and self.carry == "nothing":
            raise RecipeError(
                "heads: expected shared where nothing is carried, for critics are new anyway, got "
                "per_task; set carry to weights, too"
            )


@dataclass(frozen=True)
class OffPolicy:
    """An off-policy actor-critic that trains weights and codes in alternation (CoTASP, arXiv
    2305.18444): the base of agents, who add `update`.

    The defaults are those that learned most reliably on Meta-World v3 (docs/measurements.md,
    Learning); those of CoTASP's reference code stand in `recipes/reference_cw10.yaml`.

    Args:
        critic: family and shape of the twin critics.
        ensemble: which of the twins' values counts, in targets and for the actor: `"min"`, against
            overestimation (TD3, arXiv 1802.09477), or `"mean"`, which is less pessimistic (arXiv
            2506.01016).
        values: what critics bring along to a new task.
        learning_rate: Adam's, of actor, critics and temperature.
        code_learning_rate: Adam's, of the codes.
        batch_size: transitions per update.
        buffer_size: transitions kept, of the task in training only; memory is taken for no more
            than the task has of them.
        updates_per_transition: updates per transition, that is, per action: an environment step
            unless the stream repeats actions.
        n_step: transitions whose rewards a return holds before it goes on with a value (Rainbow,
            arXiv 1710.02298).  As there, they are not corrected for the policy's change; the
            entropy of the steps between is left out.
        gamma: discount factor per transition; None: fitted to the length of an episode, 1 - 2 / its
            transitions, in [0.95, 0.995], or 0.99 where that is unknown (after TD-MPC2, arXiv
            2310.16828).
        tau: rate at which the target critics follow; SAC's is 0.005.
        reward_scale: multiplies, in training, the mean reward of a transition's environment steps.
        actor_average: decay per update of a running average of the actor's weights, which is what
            is evaluated and what a finished task keeps (Polyak & Juditsky 1992); 0: the weights
            themselves.
        clip: largest norm of the gradient of the actor's weights, after the guard: a larger one is
            scaled down to it (PackNet's and behaviour cloning's in Continual World, arXiv
            2105.10919); None: no limit.
        final_learning_rate: factor of the learning rate at a task's end; the rate goes down to it
            linearly over the task's second half.
        theta_updates, code_updates: updates of the weights, then of the codes, in alternation;
            under masks without a gradient by the code, such as `dense`, of the weights alone.
        warmup_steps: environment steps of each task that only collect data; None: a tenth of the
            task, at most 2,000.
        warmup: how they act: `"uniform"`: uniformly at random; `"earlier_prompts"` (CoTASP's): from
            the second task on by the policy of a random finished task, drawn for every episode;
            `"best_earlier"` (ClonEx's, arXiv 2209.13900): each finished task's policy for one
            episode, in turn, then the one that earned most.
        head_start: `"best"`: where every task has a head of its own, a new task's begins as that
            of the policy which earned most, of those that warm-up had an episode for (ClonEx's);
            `"fresh"`: as it was drawn.
        warmup_hold: environment steps that a random action is held for, on average (after
            arXiv 2006.01782, with geometric durations).
        noise_correlation: of the noise in one action and the next, in [0, 1) (arXiv
            1903.11524).
        distillation_updates: updates at the beginning of each later task that pull the new
            sub-network to a random policy on the previous task's states.
        execution: `"compact"` computes only the active neurons, `"dense"` the whole network.
        precision: of the factors in matrix products while training; `"bfloat16"` is faster where
            the device has such products (an x86 processor: with AMX), and float32 where it has
            not.  Weights, sums and losses stay float32 either way.
    """

    losses: ClassVar[tuple[str, ...]]  # names of what an update returns
    captures: ClassVar[bool] = False  # whether updates are captured as CUDA graphs
    squashed_noise: ClassVar[bool] = True  # whether a policy's noise is added before its squashing
    compiles: ClassVar[bool] = False  # whether its losses are compiled, in widths of 64

    critic: Critic = MLPCritic()
    ensemble: Literal["min", "mean"] = "mean"
    values: ValuesSpec = ValuesSpec()
    learning_rate: Positive = 1e-3
    code_learning_rate: Positive = 1e-3
    batch_size: Annotated[int, Range(1, 100_000)] = 128
    buffer_size: Annotated[int, Range(1, 10**9)] = 1_000_000
    updates_per_transition: NonNegative = 1.0
    n_step: Count = 5
    gamma: Share | None = None
    tau: Share = 0.02
    reward_scale: Positive = 0.1
    actor_average: ShareBelowOne = 0.995
    clip: Positive | None = None
    final_learning_rate: PositiveShare = 0.1
    theta_updates: Count = 990
    code_updates: Natural = 10
    warmup_steps: Natural | None = None
    warmup: Literal["earlier_prompts", "uniform", "best_earlier"] = "uniform"
    head_start: Literal["fresh", "best"] = "fresh"
    warmup_hold: Annotated[float, Range(1.0)] = 8.0
    noise_correlation: ShareBelowOne = 0.0
    distillation_updates: Natural = 0
    execution: Literal["compact", "dense"] = "compact"
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_fields(self)
        if self.head_start == "best" and self.warmup != "best_earlier":
            raise RecipeError(
                f"head_start: expected fresh, for no policy is tried in warm-up, got best; set "
                f"warmup to best_earlier, too, in place of {self.warmup}"
            )

    bound: ClassVar[tuple[str, ...]] = ("critic", "buffer_size")

    def check_continues(self, source: Any) -> None:
        """See `cotasp.agents.agent.Continues`."""
        if self.distillation_updates > 0 and source.distillation_updates == 0:
            raise RecipeError(
                f"distillation_updates: expected 0, got {self.distillation_updates}: that run kept "
                f"no transitions to distil on, for it had 0; go on with 0, or run the source again "
                f"with 1 or more"
            )

    def sampling(self, problem: Problem) -> Sampling:
        """What is kept and drawn of a problem's tasks; its discount factor is fitted if need be."""
        from cotasp.methods.multistep import fitted_discount

        gamma = fitted_discount(problem) if self.gamma is None else self.gamma
        return Sampling(self.batch_size, self.buffer_size, self.n_step, gamma, self.reward_scale)

    def numbers(self) -> Mapping[str, float]:
        """Numbers that are learned beside the critics, and what they are at a task's beginning."""
        return {}

    def update(
        self, values: Values, actor: TrainedActor, batch: Batch, noise: Tensor
    ) -> dict[str, Tensor]:
        """One update of everything that trains; of n stacked learners, all shapes with [n] ahead.

        Args:
            values: critics, their targets and `numbers`, each with its step.
            actor: its policy, and its step down a loss of what now trains, weights or code.
            batch: of transitions, columns [*, B, ...].
            noise: [2, *, B, action_dim], standard normal: of the next action, and of the action.

        Returns:
            `losses` by name, [*].
        """
        raise NotImplementedError

    def explores(self, policy: Policy) -> Policy:
        """The policy that collects: loc and scale of actions before their squashing."""
        return policy
