"""Critics: values against single networks, written-out gradients against autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from cotasp.modules.critics import Critics, Ensemble
from cotasp.modules.policy import ACTIVATIONS

OBS, ACT, B = 3, 2, 7


@pytest.fixture(params=[(8,), (8, 7), (9, 8, 7, 6)], ids=str)
def hidden(request):
    return request.param


def random_critics(hidden, activation="leaky_relu", n=2):
    critics = Critics(OBS, ACT, hidden, n=n, activation=activation).double()
    with torch.no_grad():
        for parameter in critics.parameters():
            parameter.copy_(torch.randn_like(parameter).float())  # a member is a float32 copy
    return critics


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_are_those_of_separate_networks(hidden, activation):
    critics = random_critics(hidden, activation)
    observation, action = torch.randn(B, OBS).double(), torch.randn(B, ACT).double()
    values = critics(observation, action)
    functions = {"leaky_relu": F.leaky_relu, "relu": F.relu, "tanh": torch.tanh, "gelu": F.gelu}
    for i in range(critics.n):
        first, *middle, last = [
            (weight[i].T, bias[i, 0]) for weight, bias in zip(critics.weights, critics.biases)
        ]
        x = F.linear(torch.cat([observation, action], -1), *first)
        scale, shift = critics.norm_weight[i, 0], critics.norm_bias[i, 0]
        x = F.layer_norm(x, hidden[:1], scale, shift).tanh()
        for layer in middle:
            x = functions[activation](F.linear(x, *layer))
        x = F.linear(x, *last).squeeze(-1)
        torch.testing.assert_close(values[i], x)
        member = critics.member(i).double()(observation, action)[0]
        torch.testing.assert_close(member, x)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_autograds(hidden, activation):
    critics = random_critics(hidden, activation)
    observation, action = torch.randn(B, OBS).double(), torch.randn(B, ACT).double()
    slope = torch.randn(critics.n, B).double()
    action.requires_grad_()
    values = critics(observation, action)
    expected = torch.autograd.grad((values * slope).sum(), [action, *critics.parameters()])

    with torch.no_grad():
        ensemble = critics.ensemble()
        ours, tape = ensemble.taped(observation, action)
        assert torch.equal(ours, values)
        found = [ensemble.action_gradient(tape, slope, ACT), *ensemble.gradients(tape, slope)]
    for gradient, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, theirs, rtol=1e-10, atol=1e-12)


def test_learners_stacked_are_learners_alone(hidden):
    alone = [random_critics(hidden) for _ in range(3)]
    together = Ensemble(
        [torch.stack(same) for same in zip(*(c.parameters() for c in alone))], "leaky_relu"
    )
    observation, action = torch.randn(3, B, OBS).double(), torch.randn(3, B, ACT).double()
    slope = torch.randn(3, 2, B).double()
    with torch.no_grad():
        values, tape = together.taped(observation, action)
        gradients = together.gradients(tape, slope)
        rise = together.action_gradient(tape, slope, ACT)
        for i, critics in enumerate(alone):
            one = critics.ensemble()
            expected, tape = one.taped(observation[i], action[i])
            torch.testing.assert_close(values[i], expected)
            for mine, theirs in zip(gradients, one.gradients(tape, slope[i]), strict=True):
                torch.testing.assert_close(mine[i], theirs)
            torch.testing.assert_close(rise[i], one.action_gradient(tape, slope[i], ACT))


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
