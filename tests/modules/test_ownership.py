"""Ownership and the guard of Eq. 4, weight by weight."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import RunError
from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MetaPolicy

HIDDEN = (6, 5)


def test_guard_is_equation_4():
    policy = MetaPolicy(3, 2, HIDDEN)
    ownership = Ownership(3, sum(HIDDEN))
    masks = torch.rand(2, sum(HIDDEN), generator=torch.Generator().manual_seed(1)) < 0.4
    ownership.claim(0, masks[0].float())
    ownership.claim(2, masks[1].float())
    owned = masks.any(0)
    assert torch.equal(ownership.owned, owned)
    first, second = owned[:6], owned[6:]
    guard = ownership.guard(policy)
    assert set(guard) == {name for name, _ in policy.named_parameters()}
    for k in range(6):
        assert (guard["body.layers.0.weight"][k] == (not first[k])).all()
        assert guard["body.layers.0.bias"][k] == (not first[k])
        for j in range(5):
            assert guard["body.layers.1.weight"][j, k] == (not (first[k] and second[j]))
    for j in range(5):
        assert guard["body.layers.1.bias"][j] == (not second[j])
        assert (guard["mean.weight"][:, j] == (not second[j])).all()
        assert (guard["log_std.weight"][:, j] == (not second[j])).all()
    assert not guard["log_std.bias"].any()


def test_nothing_is_guarded_before_the_first_task_ends():
    guard = Ownership(2, sum(HIDDEN)).guard(MetaPolicy(3, 2, HIDDEN))
    assert all(g.all() for g in guard.values())


def test_the_log_std_head_can_be_left_to_leak():
    ownership = Ownership(1, sum(HIDDEN))
    ownership.claim(0, torch.ones(sum(HIDDEN)))
    guard = ownership.guard(MetaPolicy(3, 2, HIDDEN), log_std=False)
    assert guard["log_std.weight"].all()
    assert guard["log_std.bias"].all()
    assert not guard["mean.weight"].any()


def test_a_task_claims_once():
    ownership = Ownership(1, 4)
    ownership.claim(0, torch.ones(4))
    with pytest.raises(RunError, match="claimed its neurons already"):
        ownership.claim(0, torch.ones(4))


def test_ownership_survives_a_checkpoint():
    ownership = Ownership(2, 4)
    ownership.claim(1, torch.tensor([1.0, 0, 0, 1]))
    copy = Ownership(2, 4)
    copy.load_state_dict(ownership.state_dict())
    assert torch.equal(copy.owned, ownership.owned)
