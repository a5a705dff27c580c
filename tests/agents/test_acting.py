"""How data are collected: held random actions, policies drawn for an episode, correlated noise."""

from __future__ import annotations

import pytest
import torch
from torchrl.envs.utils import ExplorationType, set_exploration_type

from cotasp.agents.acting import ActingPolicy, Behaviour

OBSERVATION = torch.zeros(3)
GOES_ON, BEGINS = torch.tensor([False]), torch.tensor([True])


def still(observation):
    """A policy of mean 0 and unit deviation."""
    return torch.zeros(2), torch.ones(2)


@pytest.mark.parametrize("hold", [1.0, 5.0])
def test_random_actions_are_held_for_a_geometric_number_of_steps(hold):
    torch.manual_seed(0)
    acting = Behaviour(2, hold=hold)
    actions = torch.stack([acting(OBSERVATION, GOES_ON) for _ in range(4000)])
    changes = (actions[1:] != actions[:-1]).any(-1).double().mean()
    assert float(changes) == pytest.approx(1 / hold, abs=0.03)
    assert actions.min() >= -1
    assert actions.max() <= 1
    assert float(actions.unique(dim=0).mean()) == pytest.approx(0.0, abs=0.1)


def test_an_episode_begins_with_a_random_action_of_its_own():
    acting = Behaviour(2, hold=1e9)
    first = acting(OBSERVATION, BEGINS)
    assert torch.equal(acting(OBSERVATION, GOES_ON), first)
    assert not torch.equal(acting(OBSERVATION, BEGINS), first)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_noise_is_as_correlated_as_asked_for_and_has_unit_variance(correlation):
    torch.manual_seed(1)
    acting = Behaviour(2, correlation=correlation)
    acting.act_by(still)
    with set_exploration_type(ExplorationType.RANDOM):
        noise = torch.stack([acting(OBSERVATION, GOES_ON) for _ in range(20_000)]).double().atanh()
    assert float(noise.var()) == pytest.approx(1.0, abs=0.1)
    pairs = torch.corrcoef(torch.stack([noise[1:, 0], noise[:-1, 0]]))
    assert float(pairs[0, 1]) == pytest.approx(correlation, abs=0.05)
    assert abs(float(torch.corrcoef(noise.T)[0, 1])) < 0.1  # of one action component and the other


def test_what_the_next_action_depends_on_is_in_the_state():
    policies = [lambda _, loc=loc: (torch.full((2,), loc), torch.ones(2)) for loc in (-3.0, 3.0)]
    for heads in ((), policies):
        acting, other = (Behaviour(2, hold=3.0, correlation=0.9) for _ in range(2))
        acting.act_by(*heads)
        other.act_by(*heads)
        with set_exploration_type(ExplorationType.RANDOM):
            for _ in range(5):
                acting(OBSERVATION, BEGINS)
            other.load_state_dict(acting.state_dict())
            actions = []
            for behaviour in (acting, other):
                torch.manual_seed(2)
                actions.append(torch.stack([behaviour(OBSERVATION, GOES_ON) for _ in range(9)]))
        assert torch.equal(*actions)


def test_noise_after_the_squashing_is_left_where_the_mean_is_at_a_corner():
    loc, scale = torch.tensor([9.0, 0.0]), torch.tensor([0.3, 0.3])
    behaviour = Behaviour(2, squashed_noise=False)
    behaviour.act_by(lambda x: (loc, scale))
    policy = ActingPolicy(lambda x: (loc, scale), squashed_noise=False)
    observation, goes_on = torch.zeros(4), torch.tensor([False])
    with set_exploration_type(ExplorationType.RANDOM):
        torch.manual_seed(3)
        acts = torch.stack([behaviour(observation, goes_on) for _ in range(2000)])
        torch.manual_seed(3)
        assert torch.equal(policy(observation), acts[0])
    torch.manual_seed(3)
    expected = (loc.tanh() + scale * torch.randn(2)).clamp(-1.0, 1.0)
    assert torch.equal(acts[0], expected)
    assert float(acts[:, 0].std()) > 0.15  # half of it is clipped
    assert float(acts[:, 1].std()) == pytest.approx(0.3, rel=0.1)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        assert torch.equal(policy(observation), loc.tanh())
