"""Soft actor-critic on sub-networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cotasp.agents.settings import OffPolicy
from cotasp.ranges import Positive

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.agents.agent import Learner, Method
    from cotasp.agents.values import Values
    from cotasp.methods.batch import Batch
    from cotasp.methods.problem import Problem
    from cotasp.methods.trained import TrainedActor


@dataclass(frozen=True)
class SAC(OffPolicy):
    """Soft actor-critic (arXiv 1812.05905): critic, actor with the new critic, temperature.

    The other fields are those of `cotasp.agents.settings.OffPolicy`.

    Args:
        target_entropy: of the policy, in nats; None: -action_dim, SAC's.  CoTASP's reference code
            has half of that.
        initial_temperature: alpha at the beginning of a task; it is learned from there.
        compile: whether `torch.compile` makes code of its own for SAC's losses while weights are in
            training: with bfloat16 products updates are faster, but every size of sub-network that
            a run meets (widths are rounded up to multiples of 64) first costs up to a minute, so it
            is for long tasks.  Takes a C++ compiler, on a GPU Triton; without, training goes on
            uncompiled, as it does with critics whose gradients are autograd's (`residual`).
        cuda_graphs: whether, on a CUDA device, an update of weights is captured as a CUDA graph for
            every size of sub-network (widths are rounded up to multiples of 64): launched one by
            one, its few hundred kernels would take much longer than they need.
    """

    losses: ClassVar = ("critic_loss", "actor_loss", "temperature", "entropy")

    target_entropy: float | None = None
    initial_temperature: Positive = 0.1
    compile: bool = False
    cuda_graphs: bool = True

    @property
    def compiles(self) -> bool:  # type: ignore[override]  # a field here
        """Whether the losses are compiled."""
        return self.compile

    @property
    def captures(self) -> bool:  # type: ignore[override]  # a field here
        """Whether updates are captured as CUDA graphs: equal tensors make equal updates."""
        return self.cuda_graphs

    def numbers(self) -> Mapping[str, float]:
        """log alpha."""
        import math

        return {"log_temperature": math.log(self.initial_temperature)}

    def update(
        self, values: Values, actor: TrainedActor, batch: Batch, noise: Tensor
    ) -> dict[str, Tensor]:
        from cotasp.agents.losses import actor_loss, temperature_gradient
        from cotasp.methods.trained import LossRows

        log_alpha = values.number("log_temperature")
        alpha = log_alpha.exp()
        compute = values.compute

        critic, gradients = compute.critic_loss(
            values.critics, values.targets, actor.policy, batch, alpha, noise[0], self.ensemble
        )
        values.step_critics(gradients)

        def objective(policy: Any, observation: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
            return compute.actor_loss(
                values.critics, policy, observation, alpha, noise, self.ensemble
            )

        policy = actor.policy_in_training()
        loss, surrogate, log_prob = objective(policy, batch.observation, noise[1])

        def of_some(places: Tensor) -> Tensor:  # as many as they are: never compiled
            some = batch.observation[places], alpha, noise[1][places]
            return actor_loss(values.critics, policy, *some, self.ensemble)[1]

        parts = LossRows(batch.observation, of_some)
        actor.step(surrogate, lambda *arguments: objective(*arguments)[1], parts)

        entropy = self.target_entropy
        aim = -float(batch.action.shape[-1]) if entropy is None else entropy
        values.step_numbers({"log_temperature": temperature_gradient(log_prob, aim)})
        values.move_targets(self.tau)
        return dict(zip(self.losses, (critic, loss, alpha, -log_prob.mean(-1))))

    def learner(self, problem: Problem, method: Method) -> Learner:
        from cotasp.agents.off_policy import OffPolicyLearner

        return OffPolicyLearner(self, problem, method)
