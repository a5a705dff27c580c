"""Protections: the contract over every registered name, and EWC's Fisher information."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.methods.fisher import fisher_information
from cotasp.methods.protections import EWC
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
    protection, net, ownership = KINDS["protection"].get(name)(), policy(), Ownership(2, 13)
    shapes = {k: p.shape for k, p in net.named_parameters()}
    assert protection.guard(net, ownership) is None
    assert protection.penalty(dict(net.named_parameters()), {}) is None
    ownership.claim(0, mask())
    guard = protection.guard(net, ownership)
    if guard is not None:
        assert {k: g.shape for k, g in guard.items()} == shapes
        assert all(g.dtype == torch.bool for g in guard.values())
    memory = protection.remember(net, mask(), torch.randn(8, OBS), {})
    for tensors in memory.values():
        assert {k: t.shape for k, t in tensors.items()} == shapes
        assert not any(t.requires_grad for t in tensors.values())
    penalty = protection.penalty(dict(net.named_parameters()), memory)
    if penalty is not None:
        assert float(penalty.detach()) == 0.0  # nothing has moved yet
        with torch.no_grad():
            net.mean.weight += 0.1
        moved = protection.penalty(dict(net.named_parameters()), memory)
        assert float(moved.detach()) > 0
        assert moved.requires_grad


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
    first = ewc.remember(net, mask(), torch.randn(16, OBS), {})
    with torch.no_grad():
        net.mean.weight += 0.5
    second = ewc.remember(net, mask(), torch.randn(16, OBS), first)
    assert all((second["fisher"][k] >= first["fisher"][k]).all() for k in first["fisher"])
    assert torch.equal(second["anchor"]["mean.weight"], net.mean.weight.detach())
    weights = {k: p + 0.1 for k, p in net.named_parameters()}
    expected = 0.5 * 3.0 * sum(float(f.sum()) * 0.01 for f in second["fisher"].values())
    assert float(ewc.penalty(weights, second).detach()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("field", [{"weight": -1.0}, {"samples": 0}])
def test_values_out_of_range_are_refused(field):
    with pytest.raises(RecipeError, match="expected"):
        EWC(**field)
