"""What each protection computes, and EWC's Fisher information; contract: `test_contracts.py`."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import PluginError, RecipeError
from cotasp.methods.batch import Batch
from cotasp.methods.ewc import EWC
from cotasp.methods.fisher import fisher_information
from cotasp.methods.importance import gaussian_fisher, output_sensitivity
from cotasp.methods.l2 import L2
from cotasp.methods.mas import MAS
from cotasp.methods.protection import Ending, Now, check_protections
from cotasp.modules.masks import Dense
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.share import Share
from cotasp.modules.subnetwork import membership
from tests.agents.problems import learner, train

HIDDEN, OBS, ACT = (7, 6), 4, 2


def policy() -> MetaPolicy:
    return MetaPolicy(OBS, ACT, HIDDEN, head_scale=1.0, std="exp", log_std_range=(-2.0, 0.0))


def mask() -> torch.Tensor:
    return (torch.arange(sum(HIDDEN)) % 3 != 0).float()


@pytest.mark.parametrize("protection", [EWC(samples=8), L2(), MAS(samples=8)], ids=str)
def test_a_pull_is_0_where_nothing_has_moved(protection):
    net, generator = policy(), torch.Generator().manual_seed(0)
    state = protection.remember(Ending(0, net, Share(mask() > 0), rows, {}, generator))

    def penalty():
        weights = dict(net.named_parameters())
        now = Now(weights, state, lambda x, task: net(x, mask()), None, generator)
        return protection.penalty(now)

    assert float(penalty().detach()) == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        net.mean.weight += 0.1
    assert float(penalty().detach()) > 0
    assert penalty().requires_grad


def rows(count: int) -> Batch:
    observation, action = torch.randn(count, OBS), torch.rand(count, ACT)
    zeros = torch.zeros(count)
    return Batch(observation, action, zeros, observation, zeros)


def test_a_protection_without_capability_and_one_given_twice_are_refused():
    class Idle:
        pass

    with pytest.raises(RecipeError, match=r"Idle has no method guard, penalty, transform, remem"):
        check_protections([Idle()])
    with pytest.raises(RecipeError, match=r"protection: expected at least one, got an empty list"):
        check_protections([])
    with pytest.raises(RecipeError, match=r"protection: EWC is there twice"):
        check_protections([EWC(), EWC(weight=1.0)])


def rows_one_by_one(net, states, numbers, size) -> dict[str, torch.Tensor]:
    """Mean over rows of a size of gradients, by plain autograd."""
    expected = {k: torch.zeros_like(p) for k, p in net.named_parameters()}
    for state in states:
        for number in numbers(*net(state, mask().double())):
            grads = torch.autograd.grad(
                number, list(net.parameters()), retain_graph=True, materialize_grads=True
            )
            for name, grad in zip(expected, grads):
                expected[name] += size(grad) / len(states)
    return expected


@pytest.mark.parametrize("kind", ["gaussian", "continual_world", "mas"])
def test_importances_are_autograds_row_by_row(kind):
    """In float64, to rounding."""
    net, states = policy().double(), torch.randn(5, OBS, dtype=torch.float64)
    of_task = net, Share(mask() > 0), states

    def by_deviation(loc, scale):
        squashed = kind == "continual_world"
        deviation = (scale.detach().square() + 1e-6 * squashed).sqrt()
        mean = loc.tanh() if squashed else loc
        return [*(mean / deviation), *(2**0.5 * scale / deviation)]

    if kind == "mas":
        got = output_sensitivity(*of_task)
        expected = rows_one_by_one(
            net,
            states,
            lambda loc, scale: [loc.tanh().square().sum() + scale.log().square().sum()],
            torch.abs,
        )
    else:
        got = gaussian_fisher(*of_task, squashed=kind == "continual_world")
        expected = rows_one_by_one(net, states, by_deviation, torch.square)
    for name, value in got.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)


def test_the_sampled_fisher_information_tends_to_the_gaussian_one():
    net, states = policy().double(), torch.randn(4, OBS, dtype=torch.float64)
    exact = gaussian_fisher(net, Share(mask() > 0), states)
    sampled = fisher_information(net, Share(mask() > 0), states.repeat(3000, 1), chunk=2000)
    total = sum(float(e.sum()) for e in exact.values())
    for name, value in sampled.items():
        torch.testing.assert_close(value, exact[name], rtol=0.15, atol=1e-3 * total)


def test_ewcs_options_are_their_formulas():
    net, generator = policy(), torch.Generator().manual_seed(0)
    states = torch.randn(6, OBS)

    def fixed(count):
        return Batch(states, torch.zeros(6, ACT), torch.zeros(6), states, torch.zeros(6))

    def information(before=None, **options):
        ewc = EWC(fisher="gaussian", **options)
        return ewc.remember(Ending(0, net, Share(mask() > 0), fixed, before or {}, generator))[
            "fisher"
        ]

    plain = information()
    twice = information({"fisher": plain, "anchor": {}}, decay=0.25)
    norm = torch.cat([f.flatten() for f in plain.values()]).norm()
    alike, least = information(normalise=True), information(floor=1e-3)
    for name, value in plain.items():
        torch.testing.assert_close(twice[name], 1.25 * value)
        torch.testing.assert_close(alike[name], value / norm)
        used = membership(net, mask() > 0)[name]
        assert torch.equal(least[name], torch.where(used, value.clamp(min=1e-3), 0.0))


def test_ewc_sums_over_tasks_and_pulls_to_the_last_weights():
    net, ewc = policy(), EWC(weight=3.0, samples=16)
    generator = torch.Generator().manual_seed(0)
    first = ewc.remember(Ending(0, net, Share(mask() > 0), rows, {}, generator))
    with torch.no_grad():
        net.mean.weight += 0.5
    second = ewc.remember(Ending(1, net, Share(mask() > 0), rows, first, generator))
    assert all((second["fisher"][k] >= first["fisher"][k]).all() for k in first["fisher"])
    assert torch.equal(second["anchor"]["mean.weight"], net.mean.weight.detach())
    weights = {k: p + 0.1 for k, p in net.named_parameters()}
    expected = 0.5 * 3.0 * sum(float(f.sum()) * 0.01 for f in second["fisher"].values())
    now = Now(weights, second, lambda x, task: net(x, mask()), None, generator)
    assert float(ewc.penalty(now).detach()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("field", [{"weight": -1.0}, {"samples": 0}, {"decay": 2.0}, {"floor": -1}])
def test_values_out_of_range_are_refused(field):
    with pytest.raises(RecipeError, match="expected"):
        EWC(**field)


class Peeking:
    """Calls what it has not asked for."""

    def penalty(self, now):
        return now.policy(next(iter(now.weights.values())), 0)[0].sum()


def test_who_calls_what_it_has_not_asked_for_is_told():
    made = learner(mask=Dense(), protection=Peeking(), heads="per_task")
    with pytest.raises(PluginError, match=r'now\.policy .* attribute asks = \("policy",\)'):
        train(made, 0)
