"""Nothing is forgotten; compact equals dense."""

from __future__ import annotations

import pytest
import torch
from torchrl.envs.utils import ExplorationType, set_exploration_type

from cotasp.agents import off_policy
from cotasp.methods.ewc import EWC
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.methods.hat import HAT
from cotasp.methods.l2 import L2
from cotasp.methods.packnet import PackNet
from cotasp.methods.pnn import PNN
from cotasp.methods.progress_compress import ProgressCompress
from cotasp.methods.ssde import SSDE
from cotasp.methods.supsup import SupSup
from cotasp.methods.tadell import TaDeLL
from cotasp.methods.wsn import WSN
from cotasp.modules.masks import Copies, Dense, RandomMask, Sigmoid, Step, TopK
from cotasp.modules.subnetwork import membership, unpadded
from cotasp.registry import KINDS
from tests.agents.problems import OBS, learner, train, transitions

# made-up codes of some tasks on 48 neurons need not be recallable; here weights are at stake
pytestmark = pytest.mark.filterwarnings("ignore::cotasp.errors.ConvergenceWarning")

MASKS = {
    "step-clipped": Step("clipped"),
    "step-identity": Step("identity"),
    "topk-clipped": TopK(3, "clipped"),
    "topk-identity": TopK(3, "identity"),
    "sigmoid": Sigmoid(threshold=1e-3, start=1e-2, stop=1e-3),
    "random": RandomMask(0.3),
    "dense": Dense(),
    "packnet": PackNet(retrain=0.2),
    "copies": Copies(),
    "tadell": TaDeLL(atoms=4),
    "hat": HAT(s_max=50.0),
    "wsn": WSN(),
    "supsup": SupSup(),
    "pnn": PNN(),
    "progress_compress": ProgressCompress(compress=0.2),
    "ssde": SSDE(first_lmbda=0.1, last_lmbda=0.05),
}
STATES = torch.randn(64, OBS, generator=torch.Generator().manual_seed(99))


def test_every_mask_policy_is_covered():
    covered = {KINDS["mask"].name_of(mask) for mask in MASKS.values()}
    assert covered == set(KINDS["mask"].names())


def behaviour(made, task: int) -> dict[str, torch.Tensor]:
    """A finished task's policy: Gaussian, mean action, and actions under the same noise."""
    share = made.actor.ownership.shares[task]
    policy = made.policy(task)
    with torch.no_grad():
        if share.scale or share.own:  # of which the meta-policy alone knows nothing
            loc, scale = made.sub_network(task)(STATES)
        else:
            loc, scale = made.actor.meta_policy(STATES, share.units.float(), share.head)
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            mean = policy.module(STATES)
        with set_exploration_type(ExplorationType.RANDOM):
            torch.manual_seed(7)
            sampled = policy.module(STATES)
    return {"loc": loc, "scale": scale, "mean": mean, "sampled": sampled}


@pytest.mark.parametrize(("by", "average"), [("owners", 0.9), ("tasks", 0.0)])
@pytest.mark.parametrize("execution", ["compact", "dense"])
@pytest.mark.parametrize("mask", MASKS)
def test_finished_policies_stay_bit_for_bit(mask, execution, by, average):
    check_nothing_is_forgotten(
        learner(
            mask=MASKS[mask],
            execution=execution,
            actor_average=average,
            protection=Freeze(by=by),
            steps=40,
        ),
        by,
    )


@pytest.mark.parametrize("execution", ["compact", "dense"])
@pytest.mark.parametrize("mask", ["step-clipped", "sigmoid", "dense", "packnet", "wsn", "supsup"])
def test_finished_policies_stay_bit_for_bit_with_heads_of_their_own(mask, execution):
    made = learner(
        mask=MASKS[mask],
        execution=execution,
        protection=Freeze("tasks"),
        heads="per_task",
        steps=40,
    )
    check_nothing_is_forgotten(made, "tasks")


def check_nothing_is_forgotten(made, by: str) -> None:
    kept: dict[int, dict[str, torch.Tensor]] = {}
    policy, ownership = made.actor.meta_policy, made.actor.ownership
    for task in range(4):
        before = [p.detach().clone() for p in policy.parameters()]
        guard = ownership.guard(policy, by=by)
        train(made, task)
        moved = any(not torch.equal(a, b) for a, b in zip(before, policy.parameters()))
        share = ownership.shares[task]
        # whose scores alone do; and whose base alone stays, which is frozen here
        moved |= isinstance(made.actor.masks.policy, (SupSup, ProgressCompress))
        mine = membership(policy, share.units, policy.rows(share.head))
        assert moved or not any(bool((mine[name] & free).any()) for name, free in guard.items())
        assert moved or task > 0
        for earlier, expected in kept.items():
            now = behaviour(made, earlier)
            for name, value in expected.items():
                assert torch.equal(now[name], value), (earlier, task, name)
        kept[task] = behaviour(made, task)


@pytest.mark.parametrize("heads", ["shared", "per_task"])
@pytest.mark.parametrize("mask", MASKS)
def test_a_task_that_has_not_begun_is_judged_by_what_it_begins_with(mask, heads):
    made = learner(
        mask=MASKS[mask], protection=Freeze("tasks"), heads=heads, distillation_updates=0
    )
    train(made, 0)
    before = [made.sub_network(task)(STATES) for task in (1, 2)]
    made.start_task(1)
    for told, now in zip(before[0], made.sub_network(1)(STATES)):
        torch.testing.assert_close(told, now, atol=1e-6, rtol=0)
    made.learn(transitions(20, seed=1))
    for told, now in zip(before[1], made.sub_network(2)(STATES)):
        assert told.shape == now.shape


def test_the_reference_leaks_through_its_log_std_head():
    made = learner(protection=Freeze(guard_log_std=False))
    train(made, 0)
    before = behaviour(made, 0)
    train(made, 1)
    after = behaviour(made, 0)
    assert torch.equal(before["mean"], after["mean"])
    assert not torch.equal(before["scale"], after["scale"])


@pytest.mark.parametrize("protection", [Unprotected(), EWC(weight=1.0, samples=8)])
def test_without_freezing_policies_drift(protection):
    made = learner(protection=protection, mask=Dense())
    train(made, 0)
    before = behaviour(made, 0)
    train(made, 1)
    assert not torch.equal(before["mean"], behaviour(made, 0)["mean"])


@pytest.mark.parametrize(
    ("mask", "protection", "heads"),
    [(mask, Freeze(), "shared") for mask in MASKS]
    + [("step-clipped", p, "shared") for p in (Unprotected(), EWC(weight=10.0, samples=8))]
    + [("step-identity", EWC(weight=10.0, samples=8), "per_task"), ("dense", L2(), "per_task")],
)
def test_compact_equals_dense(mask, protection, heads):
    """Same seed, same data: all weights, codes and masks agree after 2 x 40 updates.

    In float64, so that the order of sums does not matter: what remains is the algorithm.
    """
    torch.set_default_dtype(torch.float64)
    try:
        runs = []
        for execution in ("compact", "dense"):
            made = learner(
                mask=MASKS[mask],
                protection=protection,
                heads=heads,
                execution=execution,
                updates_per_transition=0.5,
                learning_rate=1e-3,
            )
            for task in range(2):
                train(made, task)
            runs.append(made)
    finally:
        torch.set_default_dtype(torch.float32)
    compact, dense = runs
    # a fifth again, with the weights they kept
    further = 8 if mask in ("packnet", "progress_compress") else 0
    assert compact.updates == dense.updates == 40 + further
    assert torch.equal(compact.actor.ownership.masks, dense.actor.ownership.masks)
    pairs = zip(compact.actor.meta_policy.named_parameters(), dense.actor.meta_policy.parameters())
    for (name, a), b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    torch.testing.assert_close(compact.actor.codes, dense.actor.codes, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("protection", [Freeze(), EWC(weight=10.0, samples=8)])
@pytest.mark.parametrize("mask", ["step-clipped", "step-identity", "sigmoid"])
def test_padding_changes_nothing(mask, protection, monkeypatch):
    """Widths rounded up to a multiple, of a policy whose widths are none, by units that stay 0."""
    torch.set_default_dtype(torch.float64)
    runs = []
    try:
        for multiple in (1, 7):
            monkeypatch.setattr(off_policy, "width_multiple", lambda *given, n=multiple: n)
            made = learner(mask=MASKS[mask], protection=protection, learning_rate=1e-3)
            train(made, 0)
            made.start_task(1)
            made.learn(transitions(60, seed=5))
            if made.actor.sub.network is not made.actor.meta_policy:
                widths = zip(made.actor.sub.network.hidden, made.actor.meta_policy.hidden)
                assert all(k % multiple == 0 or k == most for k, most in widths)
            for name, weight in made.actor.sub.weights().items():
                rest, inside = weight.detach().clone(), [len(a) for a in made.actor.sub._active]
                ends = zip(made.actor.sub.axes[name], weight.shape)
                unpadded(rest, [n if i is None else inside[i] for i, n in ends]).zero_()
                assert not rest.any(), name
            made.end_task()
            runs.append(made)
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(*(made.actor.meta_policy.parameters() for made in runs)):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(runs[0].actor.codes, runs[1].actor.codes, rtol=1e-6, atol=1e-10)


def test_one_update_agrees_to_1e_6_in_float32():
    weights = []
    for execution in ("compact", "dense"):
        made = learner(execution=execution, warmup_steps=0, updates_per_transition=0.06)
        made.start_task(0)
        made.learn(transitions(20, seed=5))
        assert made.updates == 1
        made.actor.sub.write_back()
        weights.append([p.detach().clone() for p in made.actor.meta_policy.parameters()])
    for a, b in zip(*weights):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_two_hundred_updates_agree_to_1e_4_in_float32():
    """By small steps; by the paper's, a last bit makes a larger difference than compactness does
    (benchmarks/equality.py).
    """
    runs = []
    for execution in ("compact", "dense"):
        made = learner(execution=execution, learning_rate=1e-5, updates_per_transition=2.5)
        made.start_task(0)
        before = [p.detach().clone() for p in made.actor.meta_policy.parameters()]
        for chunk in range(5):
            made.learn(transitions(20, seed=chunk))
        assert made.updates == 200
        made.actor.sub.write_back()
        runs.append(
            [
                p.detach()
                for p in (*made.actor.meta_policy.parameters(), *made.values.network.parameters())
            ]
        )
    assert not any(torch.equal(a, b) for a, b in zip(before, runs[0]))
    for a, b in zip(*runs):
        assert (a - b).norm() <= 1e-4 * b.norm()


def test_training_can_switch_neurons_off_and_only_identity_can_switch_them_on():
    off = on = 0
    for mask in ("step-clipped", "step-identity"):
        made = learner(mask=MASKS[mask], code_learning_rate=5e-2)
        made.start_task(0)
        start = made.actor.final_mask().bool()
        for chunk in range(5):
            made.learn(transitions(20, seed=chunk))
        end = made.actor.final_mask().bool()
        if mask == "step-clipped":
            off = int((start & ~end).sum())
            assert not (~start & end).any()
        else:
            on = int((~start & end).sum())
    assert off > 0
    assert on > 0


@pytest.mark.parametrize("protection", [Unprotected(), EWC(weight=1.0, samples=8)])
def test_other_tasks_policies_are_current_in_the_middle_of_a_task(protection):
    """Compact execution keeps the steps of the task in training to itself until asked."""
    actions = []
    for execution in ("compact", "dense"):
        made = learner(protection=protection, execution=execution, code_updates=0)
        train(made, 0)
        made.start_task(1)
        made.learn(transitions(60, seed=3))
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            actions.append(made.policy(0).module(STATES))
    torch.testing.assert_close(*actions, rtol=1e-3, atol=1e-4)


def test_ewc_holds_old_policies_closer_than_nothing_does():
    drift = []
    for protection in (Unprotected(), EWC(weight=1e6, samples=64)):
        made = learner(protection=protection, mask=Dense())
        train(made, 0)
        before = behaviour(made, 0)["mean"]
        train(made, 1)
        drift.append(float((behaviour(made, 0)["mean"] - before).norm()))
    assert drift[1] < 0.5 * drift[0]


def test_a_soft_mask_follows_the_progress_of_its_task():
    made = learner(mask=MASKS["sigmoid"], code_updates=0, updates_per_transition=5.0)
    made.start_task(0)
    made.learn(transitions(30, seed=0))
    early = made.actor.sub.mask.clone()
    made.learn(transitions(60, seed=1))
    assert not torch.equal(made.actor.sub.mask, early)


def test_a_gradient_that_is_not_finite_leaves_owned_weights_alone():
    made = learner()
    train(made, 0)
    made.start_task(1)
    made.learn(transitions(30, seed=0))
    made.actor.sub.write_back()
    before = behaviour(made, 0)
    made.actor.train("weights", 1.0)
    weight = next(iter(made.actor.sub.weights().values()))
    made.actor.step(
        (weight * float("nan")).sum() + sum(w.sum() for w in made.actor.sub.weights().values()),
        None,
        None,
    )
    made.actor.sub.write_back()
    after = behaviour(made, 0)
    assert torch.equal(after["mean"], before["mean"])  # cut out: the full network is NaN times 0


def test_by_tasks_freezes_what_some_one_task_uses_and_no_more():
    made = learner(mask=MASKS["random"], protection=Freeze(by="tasks"))
    for task in range(3):
        train(made, task)
    policy, ownership = made.actor.meta_policy, made.actor.ownership
    by_owners, by_tasks = ownership.guard(policy), ownership.guard(policy, by="tasks")
    fewer = 0
    for name, weight in policy.named_parameters():
        each = [membership(policy, ownership.masks[task])[name] for task in range(3)]
        assert torch.equal(by_tasks[name], ~torch.stack(each).any(0)), name
        assert bool((by_tasks[name] | ~by_owners[name]).all()), name
        fewer += int((by_tasks[name] & ~by_owners[name]).sum())
        assert weight.shape == by_tasks[name].shape
    assert fewer > 0
