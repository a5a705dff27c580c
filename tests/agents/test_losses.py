"""Our losses against TorchRL's SACLoss, on the same weights, batch and noise."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torchrl.objectives import SACLoss, SoftUpdate

from cotasp.agents.losses import actor_loss, critic_loss, distillation_loss, temperature_gradient
from cotasp.methods.batch import Batch
from cotasp.modules.critics import Critics
from cotasp.modules.policy import MetaPolicy, sample_squashed
from cotasp.modules.tensordict import actor_module, critic_modules

B, OBS, ACT, HIDDEN = 64, 5, 2, (16, 12)
GAMMA, TARGET_ENTROPY = 0.93, -1.3


@pytest.fixture(params=["all", "first"])
def setting(request, monkeypatch):
    policy = MetaPolicy(OBS, ACT, HIDDEN, head_scale=0.5, std="exp", log_std_range=(-3.0, 0.0))
    critics, targets = (Critics(OBS, ACT, (8, 8), norm=request.param) for _ in range(2))
    with torch.no_grad():
        for parameter in (*critics.parameters(), *targets.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))  # biases would be 0, scales 1
    mask = (torch.rand(sum(HIDDEN)) < 0.6).float()
    batch = Batch(
        observation=torch.randn(B, OBS),
        action=torch.rand(B, ACT) * 1.8 - 0.9,
        reward=torch.randn(B),
        next_observation=torch.randn(B, OBS),
        discount=GAMMA * (torch.rand(B) >= 0.3),
    )
    noise = torch.randn(2, B, ACT)
    monkeypatch.setattr(
        "torch.distributions.normal._standard_normal", lambda *args, **kwargs: noise[drawn[0]]
    )
    drawn = [0]
    loss = SACLoss(
        actor_module(policy),
        critic_modules(critics),
        num_qvalue_nets=2,
        loss_function="l2",
        alpha_init=0.2,
        target_entropy=TARGET_ENTROPY,
    )
    loss.make_value_estimator(gamma=GAMMA)
    SoftUpdate(loss, tau=0.01)
    with torch.no_grad():  # give TorchRL's target networks our targets' weights
        ours = [dict(m.named_parameters()) for m in critic_modules(targets)]
        theirs = loss.target_qvalue_network_params
        for key in theirs.keys(True, True):
            name = ".".join(key)
            theirs.get(key).data.copy_(torch.stack([o[name] for o in ours]))
    done = (batch.discount == 0)[:, None]
    data = TensorDict(
        {
            "observation": batch.observation,
            "action": batch.action,
            "mask": mask.expand(B, -1),
            "next": {
                "observation": batch.next_observation,
                "mask": mask.expand(B, -1),
                "reward": batch.reward[:, None],
                "terminated": done,
                "done": done | (torch.rand(B, 1) < 0.2),  # time limits are bootstrapped
            },
        },
        batch_size=[B],
    )
    return policy, critics, targets, mask, batch, noise, loss, data, drawn


def test_agrees_with_torchrl(setting):
    policy, critics, targets, mask, batch, noise, loss, data, drawn = setting
    temperature = torch.tensor(0.2)

    def masked(x):
        return policy(x, mask)

    drawn[0] = 0
    expected, _ = loss.qvalue_v2_loss(data)
    ours, gradients = critic_loss(
        critics.ensemble(), targets.ensemble(), masked, batch, temperature, noise[0], "min"
    )
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    expected.sum().backward()
    theirs = {".".join(k): v.grad for k, v in loss.qvalue_network_params.items(True, True)}
    for (name, _), gradient in zip(critics.named_parameters(), gradients, strict=True):
        (match,) = (v for k, v in theirs.items() if k.endswith(f"member.{name}"))
        torch.testing.assert_close(gradient, match.squeeze(1), rtol=1e-4, atol=1e-7)

    drawn[0] = 1
    expected, metadata = loss.actor_loss(data)
    ours, _, log_prob = actor_loss(
        critics.ensemble(), masked, batch.observation, temperature, noise[1], "min"
    )
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(log_prob, metadata["log_prob"], rtol=1e-5, atol=1e-5)

    (expected,) = torch.autograd.grad(
        loss.alpha_loss(metadata["log_prob"]).mean(), [loss.log_alpha]
    )
    ours = temperature_gradient(log_prob, TARGET_ENTROPY)
    torch.testing.assert_close(ours, expected.reshape(()), rtol=1e-5, atol=1e-6)


def test_gradients_agree_with_torchrl(setting):
    policy, critics, _, mask, batch, noise, loss, data, drawn = setting
    drawn[0] = 1
    theirs, _ = loss.actor_loss(data)
    theirs.backward()
    expected = {
        ".".join(key[1:]) if key[0] == "0" else ".".join(key): value.grad
        for key, value in loss.actor_network_params.items(True, True)
        if value.grad is not None
    }
    _, ours, _ = actor_loss(
        critics.ensemble(),
        lambda x: policy(x, mask),
        batch.observation,
        torch.tensor(0.2),
        noise[1],
        "min",
    )
    names = [name for name, _ in policy.named_parameters()]
    grads = torch.autograd.grad(ours, list(policy.parameters()))
    for name, grad in zip(names, grads, strict=True):
        match = [v for k, v in expected.items() if k.endswith(name)]
        assert len(match) == 1, (name, list(expected))
        torch.testing.assert_close(grad, match[0], rtol=1e-4, atol=1e-7)


def test_the_mean_rule_averages_the_critics(setting):
    """In the targets and for the actor; the reference is written with autograd."""
    policy, critics, targets, mask, batch, noise, *_ = setting
    alpha = torch.tensor(0.2)

    def masked(x):
        return policy(x, mask)

    action, log_prob = sample_squashed(*masked(batch.next_observation), noise[0])
    value = sum(targets(batch.next_observation, action)) / 2 - alpha * log_prob
    target = (batch.reward + batch.discount * value).detach()
    expected = sum(
        (values - target).square().mean() for values in critics(batch.observation, batch.action)
    )
    given = masked, batch, alpha, noise[0], "mean"
    ours, gradients = critic_loss(critics.ensemble(), targets.ensemble(), *given)
    torch.testing.assert_close(ours, expected)
    theirs = torch.autograd.grad(expected, list(critics.parameters()))
    for gradient, reference in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-6)

    action, log_prob = sample_squashed(*masked(batch.observation), noise[1])
    expected = (alpha * log_prob - sum(critics(batch.observation, action)) / 2).mean()
    given = masked, batch.observation, alpha, noise[1], "mean"
    ours, surrogate, _ = actor_loss(critics.ensemble(), *given)
    torch.testing.assert_close(ours, expected.detach())
    weights = list(policy.parameters())
    pairs = zip(torch.autograd.grad(surrogate, weights), torch.autograd.grad(expected, weights))
    for gradient, reference in pairs:
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-6)


def test_distillation_is_the_divergence_from_a_standard_normal():
    loc, scale = torch.randn(B, ACT).double(), torch.rand(B, ACT).double() + 0.2
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(loc, scale),
        torch.distributions.Normal(torch.zeros_like(loc), torch.ones_like(scale)),
    )
    ours = distillation_loss(lambda x: (loc, scale), torch.empty(0))
    torch.testing.assert_close(ours, expected.sum(-1).mean())
