"""Gaussian weights, and the pull of variational continual learning, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from cotasp.errors import RecipeError
from cotasp.methods.freeze import Unprotected
from cotasp.methods.protection import Now
from cotasp.methods.sizes import size_facts
from cotasp.methods.subpolicy import SubPolicy
from cotasp.methods.vcl import VCL
from cotasp.modules import plain_module
from cotasp.modules.masks import Dense
from cotasp.modules.policy import DEVIATION
from cotasp.recipe import load
from tests.agents.problems import OBS, learner, train, transitions

STATES = torch.randn(64, OBS, generator=torch.Generator().manual_seed(99))


def gaussian(protection, **settings):
    return learner(mask=Dense(), protection=protection, deviation=0.05, **settings)


def test_the_penalty_is_the_divergence_from_the_last_posterior_where_tasks_were():
    made = gaussian(VCL(weight=3.0), heads="per_task")
    train(made, 0)
    (component,) = made.actor.components.protections
    made.start_task(1)
    weights = {
        name: (p + 0.1 * torch.rand(p.shape, generator=torch.Generator().manual_seed(i))).detach()
        for i, (name, p) in enumerate(made.actor.meta_policy.named_parameters())
    }
    prior = component.state["prior"]
    expected = torch.zeros((), dtype=torch.float64)
    for name, mean in weights.items():
        if name.endswith(DEVIATION):
            continue
        now = Normal(mean.double(), weights[name + DEVIATION].double().exp())
        before = Normal(prior[name].double(), prior[name + DEVIATION].double().exp())
        divergence = kl_divergence(now, before)
        if not name.startswith("body."):  # of the heads, the finished task's alone has a prior
            divergence = divergence[made.actor.meta_policy.rows(0)]
        expected += divergence.sum()
    now = Now(weights, component.state, None, None, component.generator)
    assert VCL(weight=3.0).penalty(now).item() == pytest.approx(3 * expected.item(), rel=1e-5)
    assert VCL().penalty(Now(weights, {}, None, None, component.generator)) is None


def test_what_is_read_is_drawn_around_the_means_and_the_policy_is_the_means():
    made = gaussian(Unprotected())
    made.start_task(0)
    made.learn(transitions(40, seed=0))
    sub, policy = made.actor.sub, made.actor.meta_policy
    weight, spread = (dict(policy.named_parameters())[f"mean.weight{e}"] for e in ("", DEVIATION))
    drawn = []
    for _ in range(400):
        sub.draw()
        drawn.append((sub.acting().mean.weight - weight) / spread.exp())
    normal = torch.stack(drawn).detach()
    assert normal.mean().abs() < 4 / normal.numel() ** 0.5
    assert normal.std() == pytest.approx(1.0, abs=0.05)
    loc, _ = sub(STATES)
    assert torch.equal(loc, sub.acting()(STATES)[0])  # what learns and what acts is one draw
    assert not torch.equal(loc, policy(STATES)[0])
    ours = made.sub_network(0)
    assert torch.equal(ours(STATES)[0], policy(STATES)[0])
    assert torch.allclose(plain_module(ours)(STATES), torch.tanh(policy(STATES)[0]), atol=1e-6)


def test_deviations_follow_the_gradient_of_what_is_read():
    made = gaussian(Unprotected())
    made.start_task(0)
    made.actor.train("weights", 0.0)
    policy = made.actor.policy_in_training()
    weights = made.actor.sub.weights()
    value = sum(output.square().sum() for output in policy(STATES))
    slopes = dict(zip(weights, torch.autograd.grad(value, list(weights.values()))))
    read = made.actor.sub.acting()
    for name in ("body.layers.0.weight", "mean.weight", "body.layers.1.bias"):
        away = read.get_parameter(name) - weights[name]  # deviation times noise
        assert torch.allclose(slopes[name + DEVIATION], slopes[name] * away, rtol=1e-3, atol=1e-7)


def test_every_update_has_a_draw_of_its_own_distillation_too(monkeypatch):
    made = gaussian(Unprotected(), distillation_updates=5, code_updates=0)
    drawn = []
    draw = SubPolicy.draw
    monkeypatch.setattr(SubPolicy, "draw", lambda sub: (drawn.append(1), draw(sub)))
    train(made, 0, steps=40)
    assert len(drawn) == made.updates > 0
    drawn.clear()
    made.start_task(1)  # its policy forgets the last one's
    assert len(drawn) == 5


def test_what_a_finished_policy_reads_are_the_means_alone():
    made, plain = gaussian(Unprotected()), learner(mask=Dense(), protection=Unprotected())
    for one in (made, plain):
        train(one, 0, steps=40)
    ours, theirs = (size_facts(one.actor, one.kept) for one in (made, plain))
    assert ours["active_weights"] == theirs["active_weights"]
    assert ours["weights"] == 2 * theirs["weights"]


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (["protection=vcl"], "actor.deviation: expected one, for VCL holds the distribution"),
        (["actor.deviation=0.05"], "actor.deviation: expected null with Step, for Gaussian"),
        (["actor.deviation=0", "mask=dense"], "actor.deviation: expected above 0, got 0"),
        (["protection={name: vcl, weight: -1}"], "protection.weight: expected at least 0, got -1"),
        (
            ["actor.deviation=0.05", "mask=dense", "agent=ppo"],
            "actor.deviation: expected null with PPO, whose ratios of densities",
        ),
        (
            ["actor.deviation=0.05", "mask=dense", "agent=comps", "protection=none"],
            "actor.deviation: expected null with CoMPS",
        ),
        (
            ["actor.deviation=0.05", "mask=dense", "renewals=[redo]"],
            "actor.deviation: expected null with renewals",
        ),
    ],
)
def test_refusals(edits, message):
    with pytest.raises(RecipeError) as caught:
        load("smoke", edits)
    assert message in str(caught.value)
