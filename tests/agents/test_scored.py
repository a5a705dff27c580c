"""Masks of single weights whose scores train: WSN and SupSup."""

from __future__ import annotations

import math

import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.methods.ewc import EWC
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.methods.protection import check_keeping
from cotasp.methods.redo import ReDo
from cotasp.methods.renewal import check_renewals
from cotasp.methods.supsup import SupSup
from cotasp.methods.wsn import WSN
from cotasp.modules.scored import largest, uniform_scores
from tests.agents.problems import learner, train


def made(mask, **changes):
    plain = {"protection": Unprotected(), "heads": "per_task", "code_updates": 0}
    return learner(mask=mask, **(plain | changes))


def test_the_largest_sizes_are_chosen_and_the_gradient_goes_straight_to_them():
    """Against NumPy's order of sizes, and sign(S) by hand."""
    scores = torch.randn(7, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    chosen = largest(scores, 0.3)
    order = scores.detach().abs().numpy().ravel().argsort()[::-1][: round(0.3 * 63)]
    assert sorted(chosen.detach().flatten().nonzero().flatten().tolist()) == sorted(order)
    slope = torch.randn(7, 9, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((slope * chosen).sum(), scores)
    assert torch.equal(gradient, slope * scores.detach().sign())


def test_scores_of_a_task_that_comes_back_choose_what_it_had():
    weight = torch.randn(8, 10)
    kept = torch.randperm(80, generator=torch.Generator().manual_seed(2)).view(8, 10) < 24
    scores = uniform_scores(weight, kept, torch.Generator().manual_seed(3))
    assert torch.equal(largest(scores, 0.3) > 0, kept)
    new = uniform_scores(weight, None, torch.Generator().manual_seed(3))
    assert torch.equal(new.flatten().sort().values, scores.flatten().sort().values)


@pytest.mark.parametrize("mask", [WSN(density=0.3), SupSup(density=0.3)])
def test_a_task_keeps_its_fraction_of_every_matrix_that_is_shared(mask):
    one = made(mask, protection=Freeze(by="tasks"))
    for task in range(2):
        train(one, task, steps=40)
        scale = one.actor.ownership.shares[task].scale
        assert set(scale) == {"body.layers.0.weight", "body.layers.1.weight"}
        for name, kept in scale.items():
            assert int(kept.sum()) == round(0.3 * kept.numel()), name
    first, second = (one.actor.ownership.shares[task].scale for task in range(2))
    assert all(not torch.equal(first[name], second[name]) for name in first)


def test_winning_weights_are_used_again_and_stay_and_the_others_train():
    one = made(WSN(), protection=Freeze(by="tasks"))
    train(one, 0)
    policy, ownership = one.actor.meta_policy, one.actor.ownership
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    train(one, 1)
    for name, first in ownership.shares[0].scale.items():
        now, mine = policy.get_parameter(name), ownership.shares[1].scale[name]
        assert torch.equal(now[first], before[name][first])
        assert bool((now != before[name])[mine & ~first].any()), "free ones train"
        assert bool((mine & first).any()), "finished tasks' are used again"


def test_of_supermasks_nothing_that_is_shared_ever_moves():
    one = made(SupSup(density=0.25))
    policy = one.actor.meta_policy
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    for task in range(2):
        train(one, task)
    for name, weight in policy.named_parameters():
        if name.startswith("body."):
            assert torch.equal(weight, before[name]), name
        elif weight.ndim > 1:
            rows = [policy.rows(task) for task in range(3)]
            moved = [not torch.equal(weight[r], before[name][r]) for r in rows]
            assert moved == [True, True, False], name
    size = policy.get_parameter("body.layers.1.weight").abs().unique().tolist()
    assert size == pytest.approx([math.sqrt(2 / (0.25 * 48))])


def test_what_cannot_go_with_scores_is_refused():
    with pytest.raises(RecipeError, match="freezes single weights, for WSN leaves"):
        check_keeping(WSN(), [Freeze()])
    check_keeping(SupSup(), [Freeze()])
    with pytest.raises(RecipeError, match=r"expected none under WSN.*got ReDo"):
        check_renewals([ReDo()], WSN())
    for mask in (WSN, SupSup):
        with pytest.raises(RecipeError, match=r"density: expected in \(0, 1\], got 0"):
            mask(density=0.0)


@pytest.mark.parametrize("mask", [WSN(), SupSup()])
def test_a_protection_that_looks_at_updates_and_weighs_nothing_changes_nothing(mask):
    ends = []
    for protection in (Unprotected(), EWC(weight=0.0, samples=8)):
        one = made(mask, protection=protection)
        for task in range(2):
            train(one, task, steps=40)
        ends.append(torch.cat([x.flatten() for x in one.sub_network(1).state_dict().values()]))
    assert torch.equal(*ends)
