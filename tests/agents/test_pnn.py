"""Progressive networks: columns that read earlier ones, against networks of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import cotasp
from cotasp.agents.off_policy import OffPolicyLearner
from cotasp.errors import RecipeError
from cotasp.methods.pnn import PNN
from cotasp.modules.masks import Dense
from cotasp.modules.specs import ActorSpec
from tests.agents.problems import OBS, learner, train, transitions

STATES = torch.randn(64, OBS, generator=torch.Generator().manual_seed(99))
ACTOR = ActorSpec(hidden=(48, 42), std="exp", head_scale=0.1, norm="none", heads="per_task")


def made(mask=PNN(), actor=ACTOR, **changes) -> OffPolicyLearner:  # noqa: B008 - frozen
    plain = {"code_updates": 0, "distillation_updates": 0, "actor": actor}
    return learner(mask=mask, **(plain | changes))


@torch.no_grad()
def column_by_column(policy, task: int, x: torch.Tensor, tasks: int = 6) -> torch.Tensor:
    """loc of a task by Eq. 1 in float64: every column with weights of its own, taken out here."""
    x, below = x.double(), None  # of each column so far, what its layer gives
    for i, layer in enumerate(policy.body.layers):
        weight, width = layer.weight.double(), len(layer.bias) // tasks
        rows, outputs = weight.split(width), []
        for k in range(task + 1):
            z = layer.bias.double().split(width)[k]
            if i == 0:
                z = z + x @ rows[k].T
            else:  # its own column, and lateral connections from the earlier ones
                z = z + sum(
                    below[j] @ rows[k].split(len(below[j][0]), 1)[j].T for j in range(k + 1)
                )
            outputs.append(F.leaky_relu(z))
        below = outputs
    head = policy.mean.weight.double()[policy.rows(task)].split(len(below[0][0]), 1)
    return sum(h @ w.T for h, w in zip(below, head))


@pytest.mark.parametrize("execution", ["compact", "dense"])
def test_a_task_s_policy_is_its_column_on_those_before_it(execution):
    one = made(execution=execution)
    policy = one.actor.meta_policy
    for task in range(3):
        train(one, task, steps=40)
        for earlier in range(task + 1):
            loc = one.sub_network(earlier)(STATES)[0]
            expected = column_by_column(policy, earlier, STATES)
            torch.testing.assert_close(loc.double(), expected, rtol=1e-4, atol=1e-6)
    assert one.actor.ownership.masks.sum(1).tolist() == [15, 30, 45, 0, 0, 0]
    between = policy.body.layers[1].weight.detach()
    for k, rows in enumerate(between.split(7)):
        assert not rows[:, 8 * (k + 1) :].any(), "nothing leads back"
        assert all(bool(block.all()) for block in rows[:, : 8 * (k + 1)].split(8, 1))


def test_earlier_columns_give_later_tasks_what_they_gave_their_own():
    one = made()
    train(one, 0, steps=40)
    body = one.actor.meta_policy.body
    before = body.outputs(STATES, one.actor.ownership.masks[0].float())
    one.start_task(1)
    one.learn(transitions(40, seed=1))
    network, _, _ = one.actor.network_in_training
    now = network.body.outputs(STATES)
    assert network.hidden == (16, 14)
    for width, old, new in zip((8, 7), before, now):
        torch.testing.assert_close(new[:, :width], old[:, :width])


def test_a_stream_of_one_task_is_a_plain_network_bit_for_bit():
    ends = []
    for mask in (PNN(), Dense()):
        one = made(mask, texts=["alone"])
        train(one, 0)
        ends.append(torch.cat([p.detach().flatten() for p in one.actor.meta_policy.parameters()]))
    assert torch.equal(*ends)


def test_columns_begin_as_networks_of_their_width():
    policy = replace(ACTOR, hidden=(600, 600)).build(OBS, 2, 3)
    drawn = policy.body.layers[1].weight.detach().clone()
    factor = PNN().wires(policy, 3)["body.layers.1.weight"]
    own, lateral = (drawn * factor)[200:400, 200:400], (drawn * factor)[200:400, :200]
    assert float(own.std()) == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    assert float(lateral.std()) == pytest.approx(math.sqrt(2 / 600), rel=0.02)
    assert set(PNN().wires(policy, 3)) == {"body.layers.1.weight"}


def test_sizes_count_the_weights_that_there_are():
    one = made()
    for task in range(2):
        train(one, task, steps=40)
    head = 4 * 14 + 2  # both of a task's heads read all columns so far, and a bias
    second = 16 * OBS + 16 + (7 * 8 + 7 * 16) + 14 + head
    first = 8 * OBS + 8 + 7 * 8 + 7 + 4 * 7 + 2
    assert one.summary()["active_weights"] == (first + second) / 2


def test_networks_that_are_none_are_refused():
    with pytest.raises(RecipeError, match=r"actor.norm: expected none, for PNN.*got first"):
        cotasp.loads("mask: pnn")
    cotasp.loads("{mask: pnn, actor: {norm: none}}")
    with pytest.raises(RecipeError, match=r"expected at least 6 units in every layer.*got 5"):
        made(actor=replace(ACTOR, hidden=(48, 5)))
