"""Critics: values against single networks, written-out gradients against autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from cotasp.modules.critics import Critics
from cotasp.modules.policy import ACTIVATIONS

OBS, ACT, B = 3, 2, 7


FUNCTIONS = {"leaky_relu": F.leaky_relu, "relu": F.relu, "tanh": torch.tanh, "gelu": F.gelu}
NORMS = ("all", "first", "none")


@pytest.fixture(params=[(8,), (8, 7), (9, 8, 7, 6)], ids=str)
def hidden(request):
    return request.param


def random_critics(hidden, activation="leaky_relu", norm="all"):
    critics = Critics(OBS, ACT, hidden, activation=activation, norm=norm).double()
    with torch.no_grad():
        for parameter in critics.parameters():
            parameter.copy_(torch.randn_like(parameter).float())  # a member is a float32 copy
    return critics


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_are_those_of_separate_networks(hidden, activation, norm):
    critics = random_critics(hidden, activation, norm)
    observation, action = torch.randn(B, OBS).double(), torch.randn(B, ACT).double()
    values = critics(observation, action)
    normalised = {"all": len(hidden), "first": 1, "none": 0}[norm]
    assert len(critics.norm_weights) == len(critics.norm_biases) == normalised
    for i in range(critics.n):
        *layers, last = [
            (weight[i].T, bias[i, 0]) for weight, bias in zip(critics.weights, critics.biases)
        ]
        x = torch.cat([observation, action], -1)
        for k, layer in enumerate(layers):
            x = F.linear(x, *layer)
            if k < normalised:
                scale, shift = critics.norm_weights[k][i, 0], critics.norm_biases[k][i, 0]
                x = F.layer_norm(x, x.shape[-1:], scale, shift)
            x = torch.tanh(x) if norm == "first" and k == 0 else FUNCTIONS[activation](x)
        x = F.linear(x, *last).squeeze(-1)
        torch.testing.assert_close(values[i], x)
        member = critics.member(i).double()(observation, action)[0]
        torch.testing.assert_close(member, x)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_autograds(hidden, activation, norm):
    critics = random_critics(hidden, activation, norm)
    observation, action = torch.randn(B, OBS).double(), torch.randn(B, ACT).double()
    target, slope = torch.randn(B).double(), torch.randn(critics.n, B).double()
    action.requires_grad_()
    values = critics(observation, action)
    (rise,) = torch.autograd.grad((values * slope).sum(), [action], retain_graph=True)
    loss = sum(F.mse_loss(of_member, target) for of_member in values)
    expected = torch.autograd.grad(loss, list(critics.parameters()))

    ours, pullback = critics.ensemble().action_vjp(observation, action)
    assert torch.equal(ours, values)
    torch.testing.assert_close(pullback(slope), rise, rtol=1e-10, atol=1e-12)
    ours, gradients = critics.ensemble().loss_and_gradients(observation, action, target)
    torch.testing.assert_close(ours, loss)
    for gradient, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_learners_stacked_are_learners_alone(hidden, norm):
    alone = [random_critics(hidden, norm=norm) for _ in range(3)]
    parameters = [torch.stack(same) for same in zip(*(c.parameters() for c in alone))]
    together = alone[0].ensemble(parameters)
    observation, action = torch.randn(3, B, OBS).double(), torch.randn(3, B, ACT).double()
    target, slope = torch.randn(3, B).double(), torch.randn(3, 2, B).double()
    values, pullback = together.action_vjp(observation, action)
    rise = pullback(slope)
    loss, gradients = together.loss_and_gradients(observation, action, target)
    for i, critics in enumerate(alone):
        one = critics.ensemble()
        expected, pullback = one.action_vjp(observation[i], action[i])
        torch.testing.assert_close(values[i], expected)
        torch.testing.assert_close(rise[i], pullback(slope[i]))
        expected, theirs = one.loss_and_gradients(observation[i], action[i], target[i])
        torch.testing.assert_close(loss[i], expected)
        for mine, gradient in zip(gradients, theirs, strict=True):
            torch.testing.assert_close(mine[i], gradient)


def test_the_functional_transforms_of_torch_apply(hidden):
    critics = random_critics(hidden)
    observation, action = torch.randn(4, B, OBS).double(), torch.randn(4, B, ACT).double()
    weights = {k: v.detach() for k, v in critics.named_parameters()}

    def total(weights, observation, action):
        return functional_call(critics, weights, (observation, action)).sum()

    found = torch.vmap(torch.func.grad(total), (None, 0, 0))(weights, observation, action)
    for i in range(4):
        expected = torch.autograd.grad(
            critics(observation[i], action[i]).sum(), list(critics.parameters())
        )
        for name, theirs in zip(weights, expected, strict=True):
            torch.testing.assert_close(found[name][i], theirs)


def test_weights_are_batched_as_torchrl_does(hidden):
    several = [random_critics(hidden) for _ in range(3)]
    observation, action = torch.randn(B, OBS).double(), torch.randn(B, ACT).double()
    names = [name for name, _ in several[0].named_parameters()]
    stacked = dict(
        zip(names, (torch.stack(same) for same in zip(*(c.parameters() for c in several))))
    )

    def values(weights):
        return functional_call(several[0], weights, (observation, action))

    found = torch.vmap(values)(stacked)
    for mine, critics in zip(found, several, strict=True):
        torch.testing.assert_close(mine, critics(observation, action))
