"""Tasks that come back: the same task goes on, and what others use stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cotasp.agents.settings import ValuesSpec
from cotasp.methods.freeze import Freeze
from cotasp.methods.packnet import PackNet
from cotasp.methods.wsn import WSN
from cotasp.modules.masks import Copies, Dense, Step
from cotasp.testing._toy import copied
from tests.agents.problems import OBS, learner, train, transitions
from tests.agents.test_state import assert_same

pytestmark = pytest.mark.filterwarnings("ignore::cotasp.errors.ConvergenceWarning")

TEXTS = ["a", "b", "a"]
STATES = torch.randn(64, OBS, generator=torch.Generator().manual_seed(99))
METHODS: dict[str, dict[str, Any]] = {
    "owners": {"protection": Freeze()},
    "tasks": {"protection": Freeze("tasks")},
    "dense": {"mask": Dense(), "protection": Freeze("tasks"), "heads": "per_task"},
    "copies": {"mask": Copies()},
    "wsn": {"mask": WSN(), "protection": Freeze("tasks"), "heads": "per_task"},
}


def returning(**changes: Any) -> Any:
    return learner(texts=TEXTS, owners=(0, 1, 0), **changes)


def outputs(made: Any, task: int) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(made.sub_network(task)(STATES))


@pytest.mark.parametrize("execution", ["compact", "dense"])
@pytest.mark.parametrize("method", METHODS)
def test_a_task_that_returns_trains_what_it_alone_uses(method, execution):
    made = returning(execution=execution, **METHODS[method])
    train(made, 0)
    train(made, 1)
    first, second = outputs(made, 0), outputs(made, 1)
    train(made, 2)
    assert torch.equal(outputs(made, 1), second)
    assert not torch.equal(outputs(made, 0), first)
    assert torch.equal(outputs(made, 2), outputs(made, 0))
    assert sorted(made.actor.ownership.shares) == [0, 1]
    assert len(made.summary()["mask_overlap"]) == 3


def test_a_packed_task_goes_on_with_its_weights_and_the_free_ones_alone():
    made = learner(
        texts=["a", "b", "a", "c"],
        owners=(0, 1, 0, 3),
        mask=PackNet(),
        protection=Freeze("tasks"),
        code_updates=0,
        distillation_updates=0,
    )
    train(made, 0)
    mine = {name: kept.clone() for name, kept in made.actor.ownership.shares[0].scale.items()}
    train(made, 1)
    theirs = made.actor.ownership.shares[1].scale
    ended = outputs(made, 0)
    made.start_task(2)
    assert torch.equal(outputs(made, 2), ended)
    train(made, 2)
    again = made.actor.ownership.shares[0].scale
    assert not any((again[k] & theirs[k] & ~mine[k]).any() for k in again)
    assert made.actor.not_stackable == "PackNet"  # stacked updates know no such parts
    assert returning(mask=Dense(), protection=Freeze("tasks")).actor.not_stackable is None


def test_it_goes_on_from_its_own_code_and_is_one_owner():
    made = returning(mask=Step("identity"))
    train(made, 0)
    train(made, 1)
    code = made.actor.codes[0].clone()
    made.start_task(2)
    assert torch.equal(made.actor.code, code)
    assert made.actor.task == 0


def test_it_resumes_bit_for_bit():
    one = returning()
    train(one, 0)
    train(one, 1)
    one.start_task(2)
    other = returning()
    other.load_state_dict(copied(one.state_dict()))
    assert other.actor.in_training
    assert_same(one, other)


def test_last_layers_of_critics_wait_for_their_task():
    made = returning(values=ValuesSpec("weights", "per_task"))
    train(made, 0)
    kept = {k: v.clone() for k, v in made.values.heads["0"].items()}
    body = made.values.network.weights[0].detach().clone()
    made.start_task(1)
    assert torch.equal(made.values.network.weights[0], body)
    last = made.values.network.weights[-1]
    assert not torch.equal(last, kept["critics.weights.2"])
    assert float(made.values.number("log_temperature").exp()) == pytest.approx(0.2)
    made.learn(transitions(20, seed=1))
    made.end_task()
    made.start_task(2)
    assert torch.equal(made.values.network.weights[-1], kept["critics.weights.2"])
    assert torch.equal(made.values.number("log_temperature"), kept["log_temperature"])


def test_what_makes_a_new_task_plastic_is_not_done_to_one_that_goes_on():
    made = returning(mask=Step("identity"), distillation_updates=5)
    train(made, 0)
    assert "distillation_loss" in made.start_task(1)
    made.learn(transitions(20, seed=1))
    made.end_task()
    ended = outputs(made, 0)
    assert "distillation_loss" not in made.start_task(2)
    made.actor.sub.write_back()
    assert torch.equal(outputs(made, 0), ended)
