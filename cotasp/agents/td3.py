"""Twin delayed deep deterministic policy gradient on sub-networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from cotasp.agents.settings import OffPolicy
from cotasp.ranges import Count, NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.agents.agent import Learner, Method
    from cotasp.agents.values import Values
    from cotasp.methods.batch import Batch
    from cotasp.methods.problem import Problem
    from cotasp.methods.trained import TrainedActor
    from cotasp.modules.policy import Policy


@dataclass(frozen=True)
class TD3(OffPolicy):
    """Twin delayed deterministic policy gradient (TD3, arXiv 1802.09477).

    y = r + discount min_i Q'_i(s', clip(pi(s') + clip(eps))); the actor ascends Q(s, pi(s)).  There
    is no second, slower actor: targets use the one in training.  The other fields are those of
    `cotasp.agents.settings.OffPolicy`.

    Args:
        exploration_noise: deviation of the noise on actions that collect, in [-1, 1]'s units.
        target_noise: deviation of the noise on the next action, in [-1, 1]'s units.
        noise_clip: largest size of that.
        policy_delay: updates of the critics for one of the actor and of the targets.
        saturation_penalty: weight, in the actor's loss, of the mean square of actions before their
            squashing, whose gradient would vanish in a corner (as in hindsight experience replay,
            arXiv 1707.01495); 0: TD3 as published.
    """

    losses: ClassVar = ("critic_loss", "actor_loss")
    squashed_noise: ClassVar = False

    exploration_noise: NonNegative = 0.3
    target_noise: NonNegative = 0.2
    noise_clip: NonNegative = 0.5
    policy_delay: Count = 2
    saturation_penalty: NonNegative = 0.0

    def update(
        self, values: Values, actor: TrainedActor, batch: Batch, noise: Tensor
    ) -> dict[str, Tensor]:
        import torch

        from cotasp.methods.trained import LossRows

        with torch.no_grad():
            eps = (noise[0] * self.target_noise).clamp(-self.noise_clip, self.noise_clip)
            following = (actor.policy(batch.next_observation)[0].tanh() + eps).clamp(-1.0, 1.0)
            both = values.targets.values(batch.next_observation, following)
            least = both.amin(-2) if self.ensemble == "min" else both.mean(-2)
            target = batch.reward + batch.discount * least
            critic, gradients = values.fit(batch, target)
        values.step_critics(gradients)

        def objective(policy: Any, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
            loc = policy(observation)[0]
            action = loc.tanh()
            with torch.no_grad():
                both, pullback = values.critics.action_vjp(observation, action)
                rise = pullback(torch.full_like(both, 1.0 / both.shape[-2] / both.shape[-1]))
            excess = self.saturation_penalty * loc.square().mean((-2, -1))
            return excess.detach() - both.mean((-2, -1)), excess.sum() - (rise * action).sum()

        policy = actor.policy_in_training()
        loss, surrogate = objective(policy, batch.observation, noise[1])
        if values.steps % self.policy_delay == 0:
            inputs = batch.observation, noise[1]
            parts = LossRows(
                inputs[0], lambda some: objective(policy, *(x[some] for x in inputs))[1]
            )
            actor.step(surrogate, lambda *arguments: objective(*arguments)[1], parts)
            values.move_targets(self.tau)
        return dict(zip(self.losses, (critic, loss)))

    def explores(self, policy: Policy) -> Policy:
        return partial(_with_noise, policy, self.exploration_noise)

    def learner(self, problem: Problem, method: Method) -> Learner:
        from cotasp.agents.off_policy import OffPolicyLearner

        return OffPolicyLearner(self, problem, method)


def _with_noise(policy: Policy, deviation: float, observation: Tensor) -> tuple[Tensor, Tensor]:
    loc, scale = policy(observation)
    return loc, scale.new_full(scale.shape, deviation)
