"""When a learner does what: warm-up, alternation of weights and codes, the beginning of a task."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from cotasp.agents import off_policy
from cotasp.agents.acting import on_cpu
from cotasp.agents.settings import ValuesSpec
from cotasp.agents.td3 import TD3
from cotasp.modules.masks import Dense, Sigmoid, Step
from tests.agents.problems import ACT, OBS, learner, train, transitions

BEGINS = torch.tensor([True])
STATES = torch.randn(200, OBS, generator=torch.Generator().manual_seed(5))


def snapshot(made) -> tuple[torch.Tensor, list[torch.Tensor]]:
    return made.actor.code.detach().clone(), [
        p.detach().clone() for p in made.actor.sub.network.parameters()
    ]


def test_weights_then_codes_in_alternation():
    made = learner(theta_updates=3, code_updates=2, warmup_steps=0, n_step=1)
    made.start_task(0)
    made.learn(transitions(20, seed=0))  # twenty updates, the buffer is filled
    for update in range(20, 30):
        # a new phase cuts anew: look at what it cut
        made._begin_phase("theta" if update % 5 < 3 else "code")
        code, weights = snapshot(made)
        made.update(1)
        after_code, after_weights = snapshot(made)
        moved = any(not torch.equal(a, b) for a, b in zip(weights, after_weights))
        assert moved == (update % 5 < 3), update
        assert (not torch.equal(code, after_code)) == (update % 5 >= 3), update


@pytest.mark.parametrize(("rate", "expected"), [(1.0, 30), (0.5, 15), (2.0, 60), (0.0, 0)])
def test_warm_up_only_collects_and_then_updates_keep_their_rate(rate, expected):
    made = learner(warmup_steps=20, updates_per_transition=rate)
    made.start_task(0)
    made.learn(transitions(20, seed=0))
    assert made.updates == 0
    for chunk in range(6):
        made.learn(transitions(5, seed=chunk))
    assert made.updates == expected


def test_the_first_task_warms_up_uniformly_and_later_ones_by_a_random_earlier_prompt():
    made = learner(warmup_steps=20)
    made.start_task(0)
    assert not made.acting.policies
    actions = torch.stack([made.acting(state, BEGINS) for state in STATES])
    assert actions.shape == (200, ACT)
    assert actions.min() < -0.9
    assert actions.max() > 0.9
    made.learn(transitions(20, seed=0))
    assert [head.func for head in made.acting.policies] == [made.actor.sub.network]
    made.end_task()
    train(made, 1)
    made.start_task(2)
    assert len(made.acting.policies) == 2
    expected = [made.policy(task).module.policy(STATES)[0] for task in (0, 1)]
    for head, loc in zip(made.acting.policies, expected):
        assert torch.equal(head(STATES)[0], loc)


@pytest.mark.parametrize("mask", [Step(), Sigmoid()])
def test_what_acts_is_up_to_date_also_where_it_is_a_copy(mask, monkeypatch):
    """As on a GPU, whose networks are copied to act on the CPU."""
    monkeypatch.setattr(
        off_policy, "on_cpu", lambda network, *given: on_cpu(copy.deepcopy(network), *given)
    )
    made = learner(mask=mask, warmup_steps=5)
    for task in (0, 1):
        made.start_task(task)
        for chunk in range(20):
            made.learn(transitions(5, seed=chunk))
            (acts,) = made.acting.policies
            assert acts.func is not made.actor.sub.network
            assert all(map(torch.equal, acts(STATES), made.actor.sub(STATES)))
        made.end_task()


def test_among_several_policies_one_is_drawn_for_every_episode():
    made = learner()
    spread = torch.full((ACT,), 1e-3)
    made.acting.act_by(*(lambda x, loc=loc: (loc * torch.ones(ACT), spread) for loc in (-5.0, 5.0)))
    torch.manual_seed(0)
    drawn = [bool(made.acting(STATES[0], BEGINS)[0] > 0) for _ in range(200)]
    assert 60 < sum(drawn) < 140
    assert {bool(made.acting(STATES[0], ~BEGINS)[0] > 0) for _ in range(50)} == {drawn[-1]}


def test_distillation_brings_the_next_policy_nearer_to_a_standard_normal():
    def divergence(updates: int) -> float:
        made = learner(distillation_updates=updates, warmup_steps=50)
        train(made, 0)
        made.start_task(1)
        loc, scale = made.actor.sub(STATES)
        return float(kl_divergence(Normal(loc, scale), Normal(0.0, 1.0)).mean().detach())

    assert divergence(200) < 0.5 * divergence(0)


@pytest.mark.parametrize("reset", [True, False])
def test_critics_and_temperature_start_anew_or_go_on(reset):
    made = learner(values=ValuesSpec("nothing" if reset else "weights"))
    train(made, 0)
    weights = [p.detach().clone() for p in made.values.network.parameters()]
    temperature = made.values.number("log_temperature").exp().clone()
    made.start_task(1)
    same = all(map(torch.equal, weights, made.values.network.parameters()))
    assert same != reset
    assert torch.equal(made.values.number("log_temperature").exp(), temperature) != reset
    assert made.values.critic_optimiser.steps == 0
    assert all((m == 0).all() for m in made.values.critic_optimiser.moments["exp_avg"])


def test_steps_are_the_environments_where_actions_are_held():
    """Twenty steps of warm-up are five transitions; then there is an update for each transition."""
    made = learner(action_repeat=4, warmup_steps=20, warmup_hold=8.0, updates_per_transition=1.0)
    assert made.acting.hold == 2.0
    made.start_task(0)
    made.learn(transitions(4, seed=0))
    assert (made.steps, made.updates, made.acting.policies) == (16, 0, ())
    made.learn(transitions(1, seed=1))
    assert (made.steps, made.updates, len(made.acting.policies)) == (20, 0, 1)
    made.learn(transitions(20, seed=2))
    assert (made.steps, made.updates) == (100, 20)
    assert made.replay.capacity == 25


def test_no_update_comes_before_a_row_is_complete():
    made = learner(warmup_steps=0, n_step=10)
    made.start_task(0)
    data = transitions(30, seed=0)
    data["next", "done"][:] = data["next", "terminated"][:] = False
    made.learn(data[:9])
    assert (made.updates, len(made.replay)) == (0, 0)
    made.learn(data[9:])
    assert (made.updates, len(made.replay)) == (21, 21)


def test_under_a_mask_without_gradient_every_update_trains_the_weights():
    made = learner(mask=Dense(), theta_updates=3, code_updates=7, distillation_updates=0)
    made.start_task(0)
    made.learn(transitions(60, seed=0))
    assert made.updates == made.actor.sub.optimiser.steps > 10


def test_targets_move_when_the_delayed_actor_does(monkeypatch):
    """TD3's algorithm 1."""
    made = learner(agent_class=TD3, policy_delay=4, code_updates=0, distillation_updates=0)
    made.start_task(0)
    moves = []
    monkeypatch.setattr(type(made.values), "move_targets", lambda self, tau: moves.append(tau))
    made.learn(transitions(60, seed=0))
    assert made.updates // 4 == len(moves) == made.actor.sub.optimiser.steps > 3
