"""Sizes that a summary states, counted by hand."""

from __future__ import annotations

import pytest

from cotasp.methods.cloning import Cloning
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.methods.l2 import L2
from cotasp.methods.memories.shelf import Shelf
from cotasp.methods.packnet import PackNet
from cotasp.modules.masks import Copies, Dense
from cotasp.modules.specs import ActorSpec
from tests.agents.problems import ACT, OBS, learner, train

HIDDEN, TASKS = (12, 10), 6
BODY = (OBS + 1) * 12 + (12 + 1) * 10
HEAD = 10 * 2 * ACT + ACT
UNITS = sum(HIDDEN)  # a byte for each, of each finished task


@pytest.mark.parametrize(
    ("changes", "weights", "kept"),
    [
        ({}, BODY + HEAD, 2 * UNITS),
        ({"protection": L2()}, BODY + HEAD, 2 * UNITS + 4 * 2 * (BODY + HEAD)),
        (
            {"protection": Cloning(rehearsal=4), "memory": Shelf(10)},
            BODY + HEAD,
            2 * UNITS + 2 * 10 * (4 * (2 * OBS + ACT + 2 + 2 * ACT) + 8),
        ),
        ({"mask": Copies()}, BODY + HEAD, 2 * UNITS + 2 * 4 * (BODY + HEAD)),
    ],
    ids=["finetune", "l2", "cloning", "copies"],
)
def test_weights_and_what_is_kept_beside_them(changes, weights, kept):
    plain = {"mask": Dense(), "protection": Unprotected(), "code_updates": 0}
    made = learner(actor=ActorSpec(hidden=HIDDEN), **(plain | changes))
    for task in range(2):
        train(made, task, steps=40)
    facts = made.summary()
    assert (facts["weights"], facts["active_weights"]) == (weights, weights)
    assert facts["kept_bytes"] == kept


def test_of_many_heads_a_policy_reads_one_and_of_packed_weights_its_share():
    heads = learner(
        mask=Dense(), protection=Unprotected(), actor=ActorSpec(hidden=HIDDEN, heads="per_task")
    )
    packed = learner(mask=PackNet(), protection=Freeze(by="tasks"), actor=ActorSpec(hidden=HIDDEN))
    for made in (heads, packed):
        train(made, 0, steps=40)
    facts = heads.summary()
    assert facts["weights"] == BODY + TASKS * HEAD
    assert facts["active_weights"] == BODY + HEAD
    matrices = [12 * OBS, 120, 10 * ACT, 10 * ACT]
    kept = sum(round(n / TASKS) for n in matrices) + UNITS + ACT  # and all biases
    assert packed.summary()["active_weights"] == kept
