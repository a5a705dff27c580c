"""Critics: values and written-out gradients, against autograd and single members."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from cotasp.modules.critics import Critics, Ensemble, Tape
from cotasp.modules.policy import ACTIVATIONS

OBS, ACT, B = 3, 2, 7


@pytest.fixture(params=[(8,), (8, 7), (9, 8, 7, 6)], ids=str)
def hidden(request):
    return request.param


def random_critics(hidden, activation="leaky_relu", n=2):
    critics = Critics(OBS, ACT, hidden, n=n, activation=activation).double()
    with torch.no_grad():
        for parameter in critics.parameters():
            parameter.normal_()
    return critics


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
        tape = Tape()
        assert torch.equal(ensemble.values(observation, action, tape), values)
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
        tape = Tape()
        values = together.values(observation, action, tape)
        gradients = together.gradients(tape, slope)
        rise = together.action_gradient(tape, slope, ACT)
        for i, critics in enumerate(alone):
            one = critics.ensemble()
            tape = Tape()
            torch.testing.assert_close(values[i], one.values(observation[i], action[i], tape))
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
