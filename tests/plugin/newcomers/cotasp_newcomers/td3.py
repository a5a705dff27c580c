"""Twin delayed deterministic policy gradient (`td3`)."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from cotasp.agents import OffPolicy


@dataclass(frozen=True)
class TD3(OffPolicy):
    """Twin delayed deterministic policy gradient, arXiv 1802.09477."""

    losses: ClassVar = ("critic_loss", "actor_loss")
    squashed_noise: ClassVar = False

    exploration_noise: float = 0.3
    target_noise: float = 0.2
    noise_clip: float = 0.5
    policy_delay: int = 2

    def update(self, values, actor, batch, noise):
        import torch

        from cotasp.methods import LossRows

        with torch.no_grad():
            disturbance = (noise[0] * self.target_noise).clamp(-self.noise_clip, self.noise_clip)
            action = actor.policy(batch.next_observation)[0].tanh() + disturbance
            both = values.targets.values(batch.next_observation, action.clamp(-1.0, 1.0))
            following = both.amin(-2) if self.ensemble == "min" else both.mean(-2)
            target = batch.reward + batch.discount * following
            critic_loss, gradients = values.fit(batch, target)
        values.step_critics(gradients)
        losses, policy = partial(_losses, values.critics), actor.policy_in_training()
        loss, surrogate = losses(policy, batch.observation, noise[1])

        def loss_of(some):
            return losses(policy, batch.observation[some], noise[1][some])[1]

        if values.steps % self.policy_delay == 0:
            parts = LossRows(batch.observation, loss_of)
            actor.step(surrogate, lambda *inputs: losses(*inputs)[1], parts)
            values.move_targets(self.tau)
        return {"critic_loss": critic_loss, "actor_loss": loss}

    def explores(self, policy):
        return partial(_disturbed, policy, self.exploration_noise)

    def learner(self, problem, method):
        from cotasp.agents import OffPolicyLearner

        return OffPolicyLearner(self, problem, method)


def _losses(critics, policy, observation, noise):
    """-mean Q(s, pi(s)), and what has its gradient."""
    import torch

    action = policy(observation)[0].tanh()
    with torch.no_grad():
        both, pullback = critics.action_vjp(observation, action)
        rise = pullback(torch.full_like(both, 1.0 / both.shape[-2] / both.shape[-1]))
    return -both.mean((-2, -1)), -(rise * action).sum()


def _disturbed(policy, deviation, observation):
    loc, scale = policy(observation)
    return loc, scale.new_full(scale.shape, deviation)
