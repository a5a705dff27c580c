"""Protections: the contract over every registered name, and EWC's Fisher information."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.methods.batch import Batch, Rehearsal
from cotasp.methods.ewc import EWC
from cotasp.methods.fisher import fisher_information
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


def test_fisher_information_is_the_expected_outer_product_of_the_score():
    """Against the closed form for a Gaussian: F = J' S^-1 J + 2 J_log' J_log."""
    net, states = policy().double(), torch.randn(4, OBS, dtype=torch.float64)
    phi = mask().double()
    expected = {k: torch.zeros_like(p) for k, p in net.named_parameters()}
    for state in states:
        loc, scale = net(state, phi)
        for a in range(ACT):
            for value, weight in ((loc[a], 1 / scale[a] ** 2), (scale[a].log(), 2.0)):
                grads = torch.autograd.grad(
                    value, list(net.parameters()), retain_graph=True, allow_unused=True
                )
                for name, grad in zip(expected, grads):
                    if grad is not None:
                        expected[name] += (
                            float(torch.as_tensor(weight).detach()) * grad.square() / len(states)
                        )
    repeated = states.repeat(3000, 1)  # one action per state: average over many
    got = fisher_information(net, phi, repeated, chunk=2000)
    total = sum(float(e.sum()) for e in expected.values())
    for name, value in got.items():
        torch.testing.assert_close(value, expected[name], rtol=0.15, atol=1e-3 * total)


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


@pytest.mark.parametrize("field", [{"weight": -1.0}, {"samples": 0}])
def test_values_out_of_range_are_refused(field):
    with pytest.raises(RecipeError, match="expected"):
        EWC(**field)
