"""Protections: the contract over every registered name, and EWC's Fisher information."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.methods.batch import Batch, Rehearsal
from cotasp.methods.ewc import EWC
from cotasp.methods.fisher import fisher_information
from cotasp.methods.importance import gaussian_fisher, output_sensitivity
from cotasp.methods.memory import Rehearses
from cotasp.methods.protection import (
    Begins,
    Ending,
    Guards,
    Now,
    Penalises,
    Remembers,
    Transforms,
    check_protections,
)
from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.subnetwork import membership
from cotasp.registry import KINDS

HIDDEN, OBS, ACT = (7, 6), 4, 2


def policy() -> MetaPolicy:
    return MetaPolicy(OBS, ACT, HIDDEN, head_scale=1.0, std="exp", log_std_range=(-2.0, 0.0))


def mask() -> torch.Tensor:
    return (torch.arange(sum(HIDDEN)) % 3 != 0).float()


@pytest.mark.parametrize("name", KINDS["protection"].names())
def test_contract(name):
    """Capabilities asked in the order of a run: nothing is done before a task has ended."""
    protection, net, ownership = KINDS["protection"].get(name)(), policy(), Ownership(2, 13)
    shapes = {k: p.shape for k, p in net.named_parameters()}
    check_protections([protection])

    def now(state, rehearsal=None):
        weights = dict(net.named_parameters())
        generator = torch.Generator().manual_seed(0)
        return Now(weights, state, lambda x, task: net(x, mask()), None, generator, rehearsal)

    state = protection.begin(net) if isinstance(protection, Begins) else {}
    if isinstance(protection, Guards):
        assert protection.guard(net, ownership) is None
    if isinstance(protection, Penalises):
        assert protection.penalty(now({})) is None
    ownership.claim(0, mask())
    if isinstance(protection, Guards):
        guard = protection.guard(net, ownership)
        if guard is not None:
            assert {k: g.shape for k, g in guard.items()} == shapes
            assert all(g.dtype == torch.bool for g in guard.values())
    if isinstance(protection, Remembers):
        state = protection.remember(
            Ending(0, net, mask(), rows, {}, torch.Generator().manual_seed(0))
        )
        tensors = [t for of in state.values() for t in of.values()]
        assert tensors
        assert not any(t.requires_grad for t in tensors)
    if isinstance(protection, Transforms):
        gradients = {k: torch.randn(shape) for k, shape in shapes.items()}
        untouched = protection.transform(gradients, now({}))
        assert all(torch.equal(untouched[k], g) for k, g in gradients.items())
    if isinstance(protection, Penalises):
        old = None
        if isinstance(protection, Rehearses):
            kept, ended = rows(protection.rehearsal), torch.zeros(protection.rehearsal).long()
            with torch.no_grad():
                old = Rehearsal(kept, ended, *net(kept.observation, mask()))
        penalty = protection.penalty(now(state, old))
        assert float(penalty.detach()) == pytest.approx(0.0, abs=1e-6)  # nothing has moved yet
        with torch.no_grad():
            net.mean.weight += 0.1
        moved = protection.penalty(now(state, old))
        assert float(moved.detach()) > 0
        assert moved.requires_grad


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
    of_task = net, mask().double(), states

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
    exact = gaussian_fisher(net, mask().double(), states)
    sampled = fisher_information(net, mask().double(), states.repeat(3000, 1), chunk=2000)
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
        return ewc.remember(Ending(0, net, mask(), fixed, before or {}, generator))["fisher"]

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
    first = ewc.remember(Ending(0, net, mask(), rows, {}, generator))
    with torch.no_grad():
        net.mean.weight += 0.5
    second = ewc.remember(Ending(1, net, mask(), rows, first, generator))
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
