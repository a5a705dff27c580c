"""Ownership and the guard of Eq. 4, weight by weight."""

from __future__ import annotations

import torch

from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.share import Share

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


def test_a_task_that_comes_back_replaces_its_share():
    ownership = Ownership(1, 4)
    ownership.claim(0, torch.ones(4))
    ownership.claim(0, torch.tensor([1.0, 0, 0, 0]))
    assert ownership.owned.tolist() == [True, False, False, False]


def test_rows_of_a_head_belong_to_its_tasks():
    """By either rule a finished task's head is frozen where its inputs are, another's never."""
    policy = MetaPolicy(3, 2, HIDDEN, heads=3)
    mask = torch.rand(sum(HIDDEN), generator=torch.Generator().manual_seed(1)) < 0.4
    ownership = Ownership(3, sum(HIDDEN))
    ownership.claim(1, Share(mask, head=1))
    for by in ("owners", "tasks"):
        guard = ownership.guard(policy, by=by)
        assert torch.equal(~guard["mean.weight"][2:4], mask[6:].expand(2, -1))
        assert guard["log_std.bias"].tolist() == [True, True, False, False, True, True]
        for others in (guard["mean.weight"][:2], guard["log_std.weight"][4:]):
            assert others.all()


def test_weights_of_its_own_freeze_nothing_and_are_cut():
    policy = MetaPolicy(3, 2, HIDDEN)
    own = {name: torch.full_like(p.detach(), 0.5) for name, p in policy.named_parameters()}
    ownership = Ownership(2, sum(HIDDEN))
    ownership.claim(0, Share(torch.ones(sum(HIDDEN), dtype=torch.bool), own=own))
    for by in ("owners", "tasks"):
        assert all(free.all() for free in ownership.guard(policy, by=by).values())
    assert all((p == 0.5).all() for p in ownership.cut(policy, 0).parameters())


def test_a_view_without_a_task_guards_only_the_others():
    policy = MetaPolicy(3, 2, HIDDEN)
    first, second = (torch.arange(sum(HIDDEN)) % 2 == i for i in (0, 1))
    ownership, alone = Ownership(2, sum(HIDDEN)), Ownership(2, sum(HIDDEN))
    for task, mask in enumerate((first, second)):
        ownership.claim(task, mask.float())
    alone.claim(1, second.float())
    guard, expected = ownership.without(0).guard(policy), alone.guard(policy)
    assert all(torch.equal(guard[name], expected[name]) for name in expected)


def test_ownership_survives_a_checkpoint():
    ownership = Ownership(2, 4)
    ownership.claim(1, torch.tensor([1.0, 0, 0, 1]))
    copy = Ownership(2, 4)
    copy.load_state_dict(ownership.state_dict())
    assert torch.equal(copy.owned, ownership.owned)
