"""The comparators: each against its formula, and what they have in common, bit for bit."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from cotasp.methods.agem import AGEM
from cotasp.methods.averaging import clipped
from cotasp.methods.batch import Batch, Rehearsal
from cotasp.methods.cloning import Cloning
from cotasp.methods.ewc import EWC
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.methods.memories.shelf import Shelf
from cotasp.methods.packnet import PackNet
from cotasp.methods.protection import Now
from cotasp.methods.subpolicy import SubPolicy
from cotasp.modules.masks import Dense, RandomMask
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.share import Share
from cotasp.modules.subnetwork import active_rows, gather, membership, unpadded
from cotasp.storage.snapshot import pack
from tests.agents.problems import ACT, OBS, learner, train

STATES = torch.randn(64, OBS, generator=torch.Generator().manual_seed(99))
SHELF = {"memory": Shelf(40)}


def made(**changes: Any):
    """A learner of a dense network; keyword arguments replace its parts."""
    plain = {"mask": Dense(), "protection": Unprotected(), "code_updates": 0}
    return learner(**(plain | changes))


def tensors(one) -> dict[str, torch.Tensor]:
    """All that was learned; what a method keeps beside is its own."""
    places = pack(one.state_dict())[1]
    return {k: v for k, v in places.items() if not k.startswith(("/kept", "/actor/components"))}


def assert_same_run(one, other) -> None:
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[place], theirs[place]) for place in ours)


@pytest.mark.parametrize(
    "changes",
    [
        {"protection": EWC(weight=0.0, samples=8)},
        {"protection": Cloning(weight=0.0, rehearsal=8), **SHELF},
        {"protection": AGEM(rehearsal=8)},  # with nothing to rehearse
        SHELF,
    ],
    ids=["ewc", "cloning", "agem", "shelf"],
)
def test_a_method_without_strength_is_fine_tuning_for_the_whole_stream(changes):
    runs = []
    for each in ({}, changes):
        one = made(**each)
        for task in range(3):
            train(one, task, steps=40)
        runs.append(one)
    assert_same_run(*runs)


def test_packnet_with_one_task_and_no_retraining_is_fine_tuning():
    runs = []
    for changes in ({}, {"mask": PackNet(retrain=0.0), "protection": Freeze(by="tasks")}):
        one = made(texts=["task 0"], **changes)
        train(one, 0)
        runs.append(one)
    one, other = (x.sub_network(0).state_dict() for x in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_packnet_keeps_an_equal_share_of_every_matrix_for_every_task():
    one = made(mask=PackNet(retrain=0.05), protection=Freeze(by="tasks"))  # of six tasks
    taken = {}
    for task in range(3):
        train(one, task, steps=40)
        for name, weight in one.actor.meta_policy.named_parameters():
            if weight.ndim < 2:
                continue
            used = one.actor.ownership.used(one.actor.meta_policy)[name].sum()
            taken.setdefault(name, []).append(int(used) / weight.numel())
    for name, fractions in taken.items():
        assert fractions == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.02), name


@pytest.mark.parametrize("against", [True, False])
def test_the_projection_is_a_gems_formula(against):
    """g - (g . r / r . r) r, by hand, in float64, over all parameters as one vector."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    weights = {"a": normal(4, 3).requires_grad_(), "b": normal(5).requires_grad_()}
    slopes = {"a": normal(4, 3), "b": normal(5)}
    sign = -1.0 if against else 1.0
    gradients = {k: sign * 0.3 * v + 0.1 * normal(*v.shape) for k, v in slopes.items()}
    rows = Rehearsal(Batch(*[normal(2, OBS)] * 5), torch.zeros(2).long(), *[normal(2, ACT)] * 2)

    def objective(observation, task):
        assert observation is rows.batch.observation
        assert task is rows.task
        return sum((weights[k] * slopes[k]).sum() for k in weights)

    now = Now(weights, {}, None, objective, generator, rows)
    got = AGEM().transform(gradients, now)
    g, r = (torch.cat([of[k].flatten() for k in ("a", "b")]) for of in (gradients, slopes))
    expected = g - (g @ r) / (r @ r) * r if against else g
    result = torch.cat([got[k].flatten() for k in ("a", "b")])
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    if against:
        assert abs(float(result @ r)) < 1e-12


@pytest.mark.parametrize("kl", ["forward", "reverse"])
def test_cloning_is_the_mean_divergence_from_what_was_kept(kl):
    """Against torch.distributions, in float64."""
    generator = torch.Generator().manual_seed(1)
    loc, other = (torch.randn(7, ACT, dtype=torch.float64, generator=generator) for _ in range(2))
    scale, today = (torch.rand(7, ACT, dtype=torch.float64, generator=generator) for _ in range(2))
    kept = Rehearsal(Batch(*[loc] * 5), torch.zeros(7).long(), loc, scale + 0.1)
    now = Now({}, {}, lambda x, task: (other, today + 0.1), None, generator, kept)
    pair = Normal(kept.loc, kept.scale), Normal(other, today + 0.1)
    expected = 3.0 * kl_divergence(*(pair if kl == "forward" else pair[::-1])).mean()
    torch.testing.assert_close(Cloning(weight=3.0, kl=kl).penalty(now), expected)


@pytest.mark.parametrize(
    ("mask", "execution"), [(Dense(), "dense"), (RandomMask(0.6), "compact")], ids=str
)
def test_cloning_holds_old_policies_closer_than_nothing_does(mask, execution):
    drift = []
    for changes in ({}, {"protection": Cloning(weight=100.0, rehearsal=32), **SHELF}):
        one = made(mask=mask, execution=execution, **changes)
        train(one, 0, steps=60)
        before = one.sub_network(0)(STATES)[0]
        train(one, 1, steps=60)
        drift.append(float((one.sub_network(0)(STATES)[0] - before).norm().detach()))
    assert drift[1] < 0.5 * drift[0]


def test_rehearsal_is_of_each_tasks_own_sub_network_compact_as_dense():
    ends = []
    for execution in ("compact", "dense"):
        one = made(
            mask=RandomMask(0.6), execution=execution, protection=Cloning(rehearsal=16), **SHELF
        )
        for task in range(3):
            train(one, task, steps=40)
        ends.append(torch.stack([one.sub_network(task)(STATES)[0].detach() for task in range(3)]))
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("special", ["plain", "scaled", "own"])
@pytest.mark.parametrize("all_units", [False, True])
def test_finished_policies_follow_the_weights_in_training_compact_as_dense(special, all_units):
    torch.manual_seed(0)
    policy = MetaPolicy(OBS, 2, (12, 10), heads=2).double()
    units = [torch.ones(22).bool() if all_units else torch.rand(22) < 0.7 for _ in range(2)]
    own, scale = {}, {}
    if special == "own":
        own = {"body.layers.1.weight": torch.randn(10, 12, dtype=torch.float64)}
    if special == "scaled":
        scale = {"body.layers.0.weight": torch.rand(12, OBS) < 0.5}
    share = Share(units[0], 0, scale, own, rest=0.3)
    states = torch.randn(7, OBS, dtype=torch.float64)
    results = []
    for compact in (True, False):
        sub = SubPolicy(deepcopy(policy), 1e-3, compact, multiple=4)
        sub.begin_task(None, (), head=1)
        sub.cut(units[1].double())
        assert (sub.network is sub.policy) != compact
        with torch.no_grad():  # it has moved since it was cut
            for name, weight in sub.weights().items():
                if name.startswith("body."):
                    weight.mul_(1.5)
        if not compact:  # what is outside the sub-network does not move
            inside = membership(policy, units[1])
            for name, weight in sub.weights().items():
                kept = torch.where(inside[name], weight, policy.get_parameter(name))
                weight.data.copy_(kept)
        loc, _ = sub.of_share(share)(states)
        slopes = torch.autograd.grad(
            loc.square().sum(), list(sub.weights().values()), materialize_grads=True
        )
        full = dict(zip(sub.weights(), slopes))
        if not compact:
            full = gather(full, sub.axes, active_rows(policy, Share(units[1], 1)))
        results.append((loc.detach(), full))
    (loc, compact), (reference, dense) = results
    assert torch.allclose(loc, reference, atol=1e-12)
    for name, slope in dense.items():
        if name.startswith("body."):
            assert torch.allclose(unpadded(compact[name], slope.shape), slope, atol=1e-12), name
        else:  # the head of another task
            assert not compact[name].any()


@pytest.mark.parametrize("largest", [0.5, 1e9])
def test_clipping_is_pytorchs(largest):
    parameters = [torch.zeros(4, 3), torch.zeros(3)]
    gradients = [torch.randn(4, 3), torch.randn(3)]
    for parameter, gradient in zip(parameters, gradients):
        parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(parameters, largest)
    for got, parameter in zip(clipped(gradients, largest), parameters):
        torch.testing.assert_close(got, parameter.grad)
    pairs = [torch.stack([g, 3 * g]) for g in gradients]
    alone = [clipped([c * g for g in gradients], largest) for c in (1, 3)]
    for got, *own in zip(clipped(pairs, largest, stacked=True), *alone):
        torch.testing.assert_close(got, torch.stack(own))
    assert clipped(gradients, None) is gradients


def test_clipping_spreads_no_number_that_is_not_finite():
    bad = [torch.tensor([float("nan"), 1.0]), torch.zeros(2)]
    assert torch.equal(clipped(bad, 0.1)[1], torch.zeros(2))
