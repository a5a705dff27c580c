"""A learner that loads a state goes on bit for bit as the one that it comes from.

The reference is the learner that was never saved.  Every registered mask, protection, renewal and
agent resumes, too: `tests/test_contracts.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from cotasp.agents.off_policy import OffPolicyLearner
from cotasp.agents.settings import ValuesSpec
from cotasp.errors import RunError
from cotasp.methods.agem import AGEM
from cotasp.methods.ewc import EWC
from cotasp.methods.freeze import Freeze
from cotasp.methods.packnet import PackNet
from cotasp.modules.masks import Dense, Sigmoid, Step
from cotasp.modules.specs import ActorSpec
from cotasp.prompting.sparse_coding import SparseCoding
from cotasp.registry import KINDS
from cotasp.storage.snapshot import pack
from cotasp.testing._toy import copied
from tests.agents.problems import OBS, TEXTS, learner, train, transitions

MOMENTS = {"begun": [], "warming up": [10], "theta": [10] * 4 + [7], "code": [10] * 6 + [9]}
UPDATES = [
    {"dictionary": SparseCoding(lmbda=0.05, update=KINDS["update"].get(name)())}
    for name in KINDS["update"].names()
]
MEMORIES = [
    {
        "memory": KINDS["memory"].get(name)(**({} if name == "task" else {"size": 30})),
        "mask": Dense(),
        "protection": Freeze() if name == "task" else AGEM(rehearsal=8),
        "code_updates": 2,
    }
    for name in KINDS["memory"].names()
]
OTHERS = [
    {"warmup": "uniform"},
    {"values": ValuesSpec("weights")},
    {"distillation_updates": 0},
    {"precision": "bfloat16"},
    {"buffer_size": 50},
    {"n_step": 1},
    {"actor_average": 0.9, "final_learning_rate": 0.1, "clip": 0.1},
    {"warmup_hold": 1.0, "noise_correlation": 0.8},
    {"heads": "per_task", "values": ValuesSpec("weights", "per_task")},
    {"encoder": "onehot"},
    {"encoder": "tfidf"},
]
CASES: list[tuple[dict[str, Any], str]] = [({}, moment) for moment in MOMENTS]
CASES += [({"warmup": "uniform"}, "warming up"), ({"warmup_steps": 0}, "code")]
CASES += [({"warmup": "uniform", "warmup_hold": 1.0}, "warming up")]
CASES += [({"warmup": "best_earlier"}, "warming up")]
for settings in ({"execution": "dense"}, {"mask": Step(gradient="identity")}):
    CASES += [(settings, "theta"), (settings, "code")]
CASES += [(settings, "code") for settings in (*UPDATES, *OTHERS)]
CASES += [(settings, "theta") for settings in MEMORIES]  # no code trains under dense masks


def made(settings: dict[str, Any]) -> OffPolicyLearner:
    if isinstance(settings.get("encoder"), str):
        encoder = KINDS["encoder"].get(settings["encoder"])().prepare(TEXTS)
        settings = settings | {"encoder": encoder}
    return learner(0, **settings)


def loaded(settings: dict[str, Any], source: OffPolicyLearner) -> OffPolicyLearner:
    """Another learner, of which nothing is as it was, with the state of the source."""
    other = made(settings)
    with torch.no_grad():
        for network in (other.actor.meta_policy, other.values.network, other.values.target_network):
            for parameter in network.parameters():
                parameter.normal_()
        for dictionary in other.actor.prompter.dictionaries:
            dictionary.atoms.zero_()
    other.load_state_dict(copied(source.state_dict()))
    return other


def assert_same(one: OffPolicyLearner, other: OffPolicyLearner) -> None:
    ours, theirs = pack(one.state_dict()), pack(other.state_dict())
    assert ours[0] == theirs[0]
    assert ours[1].keys() == theirs[1].keys()
    for place, tensor in ours[1].items():
        assert torch.equal(tensor, theirs[1][place]), place
    for place, table in ours[2].items():
        assert table == theirs[2][place]
        if not table.stop:
            continue
        rows = theirs[2][place].read(table.start, table.stop)
        for key, column in table.read(table.start, table.stop).items():
            assert torch.equal(column, rows[key]), (place, key)


def go_on(learner: OffPolicyLearner, begun: int) -> list[np.ndarray]:
    """The rest of task 1, and task 2; everything that could be observed on the way."""
    seen: list[np.ndarray] = []
    observations = torch.randn(5, OBS)
    for step in range(begun, 80, 10):
        losses = learner.learn(transitions(10, seed=1000 + step))
        seen += [np.array(float(loss)) for loss in losses.values()]
        seen += [learner.acting(x, torch.tensor([False])).numpy() for x in observations]
    seen += map(np.array, learner.end_task().values())
    train(learner, 2, steps=40)
    for task in range(4):
        data = TensorDict({"observation": observations}, [5])
        seen.append(learner.policy(task)(data)["action"].numpy())
    return seen


@pytest.mark.parametrize(("settings", "moment"), CASES, ids=str)
def test_a_loaded_learner_goes_on_bit_for_bit(settings, moment):
    undisturbed = made(settings)
    train(undisturbed, 0, steps=40)
    undisturbed.start_task(1)
    for chunk in MOMENTS[moment]:
        undisturbed.learn(transitions(chunk, seed=1000 + undisturbed.steps))
    if (
        moment in ("theta", "code") and "warmup_steps" not in settings
    ):  # in the middle of it: 8 updates of theta, 2 of the code
        cycle = 8 if "memory" in settings else 10
        assert (undisturbed.phase, undisturbed.updates % cycle) == (
            moment,
            27 % cycle if moment == "theta" else 9,
        )
    resumed = loaded(settings, undisturbed)
    assert_same(undisturbed, resumed)
    random = torch.get_rng_state()
    expected = go_on(undisturbed, sum(MOMENTS[moment]))
    torch.set_rng_state(random)
    found = go_on(resumed, sum(MOMENTS[moment]))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    assert_same(undisturbed, resumed)


@pytest.mark.parametrize(
    "settings", [{}, {"protection": EWC(samples=8)}, {"buffer_size": 70}], ids=str
)
def test_between_tasks_too(settings):
    undisturbed = made(settings)
    train(undisturbed, 0, steps=40)
    resumed = loaded(settings, undisturbed)
    random = torch.get_rng_state()
    train(undisturbed, 1)
    torch.set_rng_state(random)
    train(resumed, 1)
    assert_same(undisturbed, resumed)


def test_the_buffer_is_left_out_where_nobody_asks_for_it():
    one = made({"distillation_updates": 0})
    train(one, 0)
    assert one.state_dict()["replay"] is None


def test_what_has_not_begun_may_be_another_task():
    one = made({})
    train(one, 0)
    other = learner(1, texts=["task 0", "another"])
    other.load_state_dict(copied(one.state_dict()))
    own = other.actor.embeddings[1].clone()
    train(other, 1)
    assert torch.equal(other.actor.embeddings[1], own)
    assert other.actor.ownership.finished.tolist() == [True, True]


@pytest.mark.parametrize(
    ("changes", "texts", "message"),
    [
        ({}, ["another", "task 1"], "the encoder gives the tasks other embeddings"),
        ({"buffer_size": 60}, None, "the last 60 .* as buffer_size and .* say, got 100"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(changes, texts, message):
    one = made({})
    train(one, 0)
    with pytest.raises(RunError, match=message):
        learner(0, texts=texts, **changes).load_state_dict(copied(one.state_dict()))


def test_more_tasks_than_the_learner_knows_are_refused():
    one = made({"mask": Sigmoid(threshold=1e-2)})
    train(one, 0)
    train(one, 1)
    with pytest.raises(RunError, match="at most 1 tasks"):
        learner(0, texts=["task 0"]).load_state_dict(copied(one.state_dict()))


@pytest.mark.parametrize("spoil", [lambda t: t[:-1], lambda t: t.float()], ids=["size", "type"])
def test_a_share_of_another_network_is_refused(spoil):
    settings = {"mask": PackNet(), "protection": Freeze(by="tasks")}
    one = made(settings)
    train(one, 0)
    state = copied(one.state_dict())
    scale = state["actor"]["ownership"]["0"]["scale"]
    scale["mean.weight"] = spoil(scale["mean.weight"])
    other = made(settings)
    with pytest.raises(
        RunError, match=r"share of task 1: mean.weight: expected torch.bool of shape"
    ):
        other.load_state_dict(state)
    with pytest.raises(RunError, match=r"codes: expected 90 neurons, got 88"):
        learner(0, actor=ActorSpec(hidden=(50, 40))).load_state_dict(copied(one.state_dict()))
