"""Memories: the contract over every registered name, and what is kept of finished tasks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from cotasp.agents.sac import SAC
from cotasp.errors import RecipeError
from cotasp.methods import capacity
from cotasp.methods.agem import AGEM
from cotasp.methods.batch import Batch
from cotasp.methods.capacity import check_memory
from cotasp.methods.freeze import Unprotected
from cotasp.methods.kept import kept_bytes
from cotasp.methods.memories.mixed import Mixed
from cotasp.methods.memories.reservoir import Reservoir
from cotasp.methods.memories.shelf import Shelf
from cotasp.methods.memory import Memory, Rehearses
from cotasp.methods.problem import Problem
from cotasp.modules.masks import Dense
from cotasp.recipe import loads
from cotasp.registry import KINDS
from cotasp.storage.snapshot import pack
from tests.agents.problems import ACT, OBS, TEXTS, learner, train, transitions

NAMES = KINDS["memory"].names()
PROBLEM = Problem(TEXTS, OBS, ACT, steps_per_task=60)


def memory(name: str, size: int = 30) -> Memory:
    cls = KINDS["memory"].get(name)
    return cls(size=size) if hasattr(cls(), "size") else cls()


def dense(**changes: Any):
    plain = {"mask": Dense(), "protection": Unprotected(), "code_updates": 0}
    return learner(**(plain | changes))


def weights(made) -> dict[str, torch.Tensor]:
    return pack(made.state_dict())[1]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_never_grows_again_and_is_bounded(name):
    kept = [memory(name).rows_kept(n) for n in range(1, 20)]
    assert kept == sorted(kept, reverse=True)
    assert min(kept) >= 0
    for old, current in ((0, 50), (50, 0), (50, 50), (10**9, 1)):
        assert 0 <= memory(name).old_rows(32, old, current) <= 32
    assert memory(name).old_rows(32, 0, 50) == 0  # the first task has the whole batch


@pytest.mark.parametrize("name", NAMES)
def test_training_batches_draw_the_same_numbers_whatever_is_kept(name):
    """The reference is a learner that keeps nothing, at its third task."""
    made = []
    for memory_name in ("task", name):
        made.append(dense(memory=memory(memory_name)))
        for task in range(2):
            train(made[-1], task, steps=40)
        made[-1].start_task(2)
        made[-1].learn(transitions(30, seed=0))
    plain, kept = (each._draws(4) for each in made)
    old = made[1].kept.memory.old_rows(16, len(made[1].kept), 30)
    for one, other in zip(plain.batch, kept.batch):
        assert torch.equal(one[:, : 16 - old], other[:, : 16 - old])
    if not old:
        ours, theirs = map(weights, made)
        assert all(torch.equal(ours[place], theirs[place]) for place in ours)


def test_rehearsal_changes_no_training_batch():
    plain, rehearsing = dense(), dense(memory=Shelf(20), protection=AGEM(rehearsal=8))
    for each in (plain, rehearsing):
        train(each, 0, steps=40)
        each.start_task(1)
        each.learn(transitions(40, seed=7))
    assert not torch.equal(*(x.actor.meta_policy.mean.weight for x in (plain, rehearsing)))
    for one, other in zip(plain._draws(3).batch, rehearsing._draws(3).batch):
        assert torch.equal(one, other)


def test_kept_rows_are_rows_of_their_tasks_with_what_the_policies_did():
    made = dense(memory=Shelf(20), actor_average=0.9)
    buffers, policies = [], []
    for task in range(3):
        train(made, task)
        buffers.append(made.replay.rows(torch.arange(len(made.replay))).observation)
        policies.append(made.sub_network(task))
    rows = made.kept.draw(400, torch.Generator().manual_seed(0))
    assert isinstance(rows.batch, Batch)
    assert set(rows.task.tolist()) == {0, 1, 2}
    for task in range(3):
        mine = rows.task == task
        states = rows.batch.observation[mine]
        assert len(states.unique(dim=0)) == 20  # all drawn, none twice in what is kept
        assert (states[:, None] == buffers[task][None]).all(-1).any(1).all()
        loc, scale = policies[task](states)
        torch.testing.assert_close(rows.loc[mine], loc)  # as they ended, though weights moved on
        torch.testing.assert_close(rows.scale[mine], scale)


def test_a_reservoir_shares_its_room_equally_and_drops_rows_for_good():
    made = dense(memory=Reservoir(30))
    tables = []
    for task in range(3):
        train(made, task)
        tables.append({t: c["observation"] for t, c in made.kept._tables.items()})
    assert [[len(t) for t in of.values()] for of in tables] == [[30], [15, 15], [10, 10, 10]]
    for earlier, later in itertools.pairwise(tables):
        for task, rows in earlier.items():
            assert torch.equal(rows[-len(later[task]) :], later[task])
    assert [made.kept.state_dict()["tables"][k].start for k in "012"] == [20, 5, 0]


def test_old_rows_have_their_part_of_a_batch():
    assert [Mixed(old=0.5).old_rows(16, n, 100) for n in (0, 5)] == [0, 8]
    assert [Reservoir().old_rows(16, n, 100) for n in (0, 100, 300)] == [0, 8, 12]
    made = dense(memory=Mixed(old=0.25, size=20))
    train(made, 0)
    kept = made.kept.draw(300, torch.Generator().manual_seed(0)).batch.observation
    made.start_task(1)
    made.learn(transitions(30, seed=3))
    found = (made._draws(5).batch.observation[:, :, None] == kept).all(-1).any(-1)
    assert found.sum(1).tolist() == [4] * 5
    assert found[:, 12:].all()


def test_a_task_that_ends_again_is_kept_once():
    made = dense(memory=Shelf(20))
    train(made, 0)
    made.kept.keep(0, made.replay, made.actor.finished_policy)
    rows = made.kept.state_dict()["tables"]["0"]
    assert (len(made.kept), rows.start, rows.stop) == (20, 20, 40)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_are_counted_before_anything_is_built(name, monkeypatch):
    made = dense(memory=memory(name))
    for task in range(len(TEXTS)):
        train(made, task, steps=60)
    columns = [*made.kept._all.values(), made.kept._task]
    assert kept_bytes(memory(name), PROBLEM, 60) >= sum(c.nbytes for c in columns)
    if name != "reservoir":
        assert kept_bytes(memory(name), PROBLEM, 60) == sum(c.nbytes for c in columns)
    sampling = SAC().sampling(PROBLEM)
    monkeypatch.setattr(capacity, "available_memory", lambda device: 60 * 72 + 1)
    if name == "task":
        check_memory(sampling, PROBLEM, memory(name))
    else:
        with pytest.raises(RecipeError, match=r"^recipe.memory: .*choose a smaller memory.size"):
            check_memory(sampling, PROBLEM, memory(name))


REHEARSING = [
    name
    for name in KINDS["protection"].names()
    if isinstance(KINDS["protection"].get(name)(), Rehearses)
]


@pytest.mark.parametrize("name", REHEARSING)
def test_rehearsal_without_rows_is_refused(name):
    with pytest.raises(RecipeError, match=r"^recipe.memory: expected one that keeps rows of fin"):
        loads(f"{{protection: {name}, mask: dense}}")
    loads(f"{{protection: {name}, memory: shelf}}")  # sub-networks too: each task's own


@pytest.mark.parametrize("name", ["reservoir", "mixed"])
def test_batches_of_many_tasks_are_refused_where_these_have_sub_networks_of_their_own(name):
    with pytest.raises(RecipeError, match=r"^recipe.memory: .* \(Step\) is not that of other"):
        loads(f"memory: {name}")
    dense = f"memory: {name}, mask: dense, protection: none"
    loads(f"{{{dense}}}")
    with pytest.raises(RecipeError, match=r"^recipe.memory: .* head is not that of other tasks"):
        loads(f"{{{dense}, actor: {{heads: per_task}}}}")
    with pytest.raises(RecipeError, match=r"use shelf, or agent.values.heads=shared"):
        loads(f"{{{dense}, agent: {{values: {{carry: weights, heads: per_task}}}}}}")


@pytest.mark.parametrize(
    "text", ["{name: shelf, size: 0}", "{name: mixed, old: 1.0}", "{name: reservoir, size: -1}"]
)
def test_values_out_of_range_are_refused(text):
    with pytest.raises(RecipeError, match=r"^recipe.memory.*expected in"):
        loads(f"memory: {text}")
