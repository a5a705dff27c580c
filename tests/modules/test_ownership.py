"""Ownership and the guard of Eq. 4, weight by weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cotasp.errors import RecipeError
from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MaskedMLP, MetaPolicy
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
    with pytest.raises(RecipeError, match="task 0 has another share already"):
        ownership.claim(0, torch.tensor([1.0, 0, 0, 0]))
    ownership.claim(0, torch.ones(4))  # the same one says nothing new
    ownership.claim(0, torch.tensor([1.0, 0, 0, 0]), replace=True)
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


class Actor(nn.Module):
    """An encoder that all tasks read, masked layers, and a head that reads nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 4)
        self.masked = MaskedMLP(4, HIDDEN)
        self.head = nn.Linear(HIDDEN[-1], 2)

    def forward(self, observation: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.masked(torch.tanh(self.encoder(observation)), mask))


def drawn_masks(n: int) -> torch.Tensor:
    """Masks with a unit in every layer."""
    masks = torch.rand(n, sum(HIDDEN), generator=torch.Generator().manual_seed(1)) < 0.4
    masks[:, [0, -1]] = True
    return masks.float()


@pytest.mark.parametrize("by", ["owners", "tasks"])
@pytest.mark.parametrize("heads", [(), ("head",)])
def test_an_actor_of_ones_own_forgets_nothing(by, heads):
    torch.manual_seed(0)
    actor, (first, second, third) = Actor(), drawn_masks(3)
    ownership, observation = Ownership(3, sum(HIDDEN)), torch.randn(50, 3)
    ownership.claim(0, first)
    ownership.claim(1, second)
    before = [actor(observation, mask) for mask in (first, second)]
    guard = ownership.guard(actor, by=by, heads=heads)
    assert guard.keys() == dict(actor.named_parameters()).keys()
    with torch.no_grad():  # whatever may change does, by no gradient's choice
        for name, weight in actor.named_parameters():
            weight.copy_(torch.where(guard[name], torch.randn_like(weight), weight))
    for mask, old in zip((first, second), before):
        assert torch.equal(actor(observation, mask), old)
    unowned = ~(first + second).bool()[-HIDDEN[-1] :]
    assert unowned.any()
    assert torch.equal(guard["head.weight"], (unowned & bool(heads)).expand(2, -1))
    assert torch.equal(ownership.guard(actor.masked, by=by)["layers.1.bias"], unowned)
    assert not guard["encoder.weight"].any()  # all tasks read it, as far as anybody can tell
    assert actor(observation, third).shape == (50, 2)


def test_a_module_of_ones_own_is_guarded_as_its_meta_policy():
    policy, ownership = MetaPolicy(3, 2, HIDDEN), Ownership(3, sum(HIDDEN))
    ownership.claim(0, drawn_masks(1)[0])
    wrapped = ownership.guard(nn.ModuleDict({"policy": policy}), by="tasks")
    alone = ownership.guard(policy, by="tasks")
    assert wrapped.keys() == {f"policy.{name}" for name in alone}
    assert all(torch.equal(wrapped[f"policy.{name}"], free) for name, free in alone.items())


def test_before_the_first_claim_a_module_of_ones_own_is_free():
    guard = Ownership(2, sum(HIDDEN)).guard(Actor(), by="tasks", heads=["head"])
    assert all(free.all() for free in guard.values())


POLICY, MASK = MetaPolicy(3, 2, HIDDEN), drawn_masks(1)[0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda own: own.guard(POLICY, by="taskz"), "owners or tasks, got 'taskz'. Did you mean"),
        (lambda own: own.guard(nn.Linear(3, 2)), "Linear: expected a module that contains one Mas"),
        (lambda own: own.guard(nn.ModuleList([Actor(), Actor()])), "2: 0.masked, 1.masked; guard"),
        (lambda own: own.guard(MetaPolicy(3, 2, (4, 4))), r"n_units=11 in all, got 8, \[4, 4\]"),
        (lambda own: own.guard(Actor(), heads=["encoder"]), "read 5 units, got 'encoder', Linear"),
        (lambda own: own.guard(Actor(), heads=["hed"]), "got 'hed', NoneType"),
        (lambda own: own.guard(Actor(), heads="head"), "heads: expected a list, each text, got"),
        (lambda own: own.claim(1, 0.5 * MASK), "a mask of zeros and ones, .* got values between"),
        (lambda own: own.claim(5, MASK), "task: expected 0 to 1, a number among n_tasks=2, got 5"),
        (lambda own: own.claim(1.0, MASK), "task: expected an integer, got 1.0"),
        (lambda own: own.claim(1, MASK[:3]), r"all n_units=11 hidden units, got shape \[3\]"),
        (lambda own: own.claim(1, [1.0] * 11), r"expected a Share or a mask \[11\], got \[1.0"),
        (lambda own: own.cut(POLICY, 1), "that was claimed, none yet, got 1"),
        (lambda own: Ownership(2, 16.0), "Ownership.n_units: expected an integer, got 16.0"),
        (lambda own: Ownership(0, 16), "Ownership.n_tasks: expected at least 1, got 0"),
        (lambda own: Share(MASK), r"Share.units: expected a bool tensor .* got \[11\] of torch.fl"),
    ],
)
def test_arguments_that_fit_nothing_are_refused(call, said):
    with pytest.raises(RecipeError, match=said):
        call(Ownership(2, sum(HIDDEN)))
