"""PPO: its arithmetic against TorchRL's, and the guarantees of every learner."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import IndependentNormal, ProbabilisticActor
from torchrl.objectives import ClipPPOLoss

from cotasp.agents.on_policy import OnPolicyLearner
from cotasp.agents.ppo import PPO
from cotasp.agents.rollout import Steps, advantages, clipped_loss, entropy, log_density
from cotasp.continual.loop import resume, run
from cotasp.errors import RecipeError, RunError, RunStopped
from cotasp.methods.agem import AGEM
from cotasp.methods.ewc import EWC
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.methods.method import Method
from cotasp.methods.packnet import PackNet
from cotasp.methods.problem import Problem
from cotasp.methods.redo import ReDo
from cotasp.modules.masks import Dense, Sigmoid, Step
from cotasp.modules.specs import ActorSpec
from cotasp.prompting.encoders import RandomEncoder
from cotasp.prompting.sparse_coding import SparseCoding
from cotasp.recipe import load, loads
from cotasp.testing._toy import copied
from tests.agents.problems import ACT, OBS, TEXTS
from tests.continual.runs import contents

pytestmark = pytest.mark.filterwarnings("ignore::cotasp.errors.ConvergenceWarning")


def learner(seed: int = 0, owners: tuple[int, ...] = (), **changes: Any) -> OnPolicyLearner:
    torch.manual_seed(seed)
    method = {
        "encoder": RandomEncoder(dim=16),
        "dictionary": SparseCoding(lmbda=0.05),
        "mask": Step(),
        "protections": (Freeze(),),
        "actor": ActorSpec(hidden=(48, 40), log_std_range=(-2.0, 1.0), head_scale=0.1),
        "renewals": (),
    }
    agent = {"num_envs": 2, "value_hidden": (8,), "value_warmup": 1, "epochs": 2, "gamma": 0.9}
    for name, value in changes.items():
        (method if name in method else agent)[name] = value
    problem = Problem(TEXTS, OBS, ACT, steps_per_task=80, seed=seed, owners=owners)
    return OnPolicyLearner(PPO(**agent), problem, Method(**method))


def batch(n: int, steps: int, seed: int) -> TensorDict:
    """Random transitions [n, steps] as a collection gives them; episodes end in various ways."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(n, steps, *shape, generator=generator)

    def rarely() -> torch.Tensor:
        return torch.rand(n, steps, 1, generator=generator) < 0.15

    terminated, truncated = rarely(), rarely()
    done = terminated | truncated
    begins = rarely()
    begins[:, 1:] |= done[:, :-1]
    raw = normal(ACT)
    following = {"observation": normal(OBS), "reward": normal(1)}
    following |= {"terminated": terminated, "truncated": truncated, "done": done}
    return TensorDict(
        {
            "observation": normal(OBS),
            "raw_action": raw,
            "action": raw.tanh(),
            "is_init": begins,
            "next": TensorDict(following, [n, steps]),
        },
        [n, steps],
    )


def train(made: OnPolicyLearner, task: int) -> None:
    made.start_task(task)
    for i in range(4):
        made.learn(batch(2, 10, seed=100 * task + i))
    made.end_task()


# -- arithmetic ---------------------------------------------------------------------------------


def test_advantages_are_the_sums_of_their_definition():
    data = batch(3, 20, seed=0)
    weights = torch.randn(OBS, generator=torch.Generator().manual_seed(1))

    def value(observation):
        return observation @ weights

    gamma, lmbda = 0.9, 0.7
    steps = Steps.of(data, 2.0)
    found, target = advantages(steps, value, gamma, lmbda)
    following = data["next"]
    for i in range(3):
        for t in range(20):
            expected, factor = 0.0, 1.0
            for k in range(t, 20):
                after = (
                    0.0 if following["terminated"][i, k] else value(following["observation"][i, k])
                )
                delta = 2.0 * following["reward"][i, k, 0] + gamma * after
                expected += factor * (delta - value(data["observation"][i, k]))
                factor *= gamma * lmbda
                # an episode that ends here, or that was left in its middle
                if following["done"][i, k] or (k < 19 and data["is_init"][i, k + 1]):
                    break
            assert float(found[i, t]) == pytest.approx(float(expected), abs=1e-4)
    torch.testing.assert_close(target, found + value(data["observation"]))


def test_the_loss_is_torchrls_on_equal_data():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(OBS, 2 * ACT), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(network, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=IndependentNormal,
        return_log_prob=True,
    )
    critic = TensorDictModule(nn.Linear(OBS, 1), ["observation"], ["state_value"])
    data = TensorDict({"observation": torch.randn(64, OBS)}, [64])
    with torch.no_grad():
        old = actor(data)["action_log_prob"] + 0.3 * torch.randn(64)
    advantage = torch.randn(64, 1)
    data.update(
        {"action_log_prob": old, "advantage": advantage, "value_target": torch.randn(64, 1)}
    )
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.01)
    theirs = loss(data)
    loc, scale = network(data["observation"])
    ours = clipped_loss(log_density(loc, scale, data["action"]) - old, advantage[:, 0], 0.2)
    torch.testing.assert_close(ours, theirs["loss_objective"], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        -0.01 * entropy(scale).mean(), theirs["loss_entropy"], atol=1e-6, rtol=0
    )
    gradient = torch.autograd.grad(ours, network[0].weight)[0]
    loss(data)["loss_objective"].backward()
    expected = dict(loss.named_parameters())["actor_network_params.module.0.module.0.weight"].grad
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-6)


def test_ratios_are_one_before_the_first_step():
    made = learner()
    made.start_task(0)
    rollout = made.take(batch(2, 10, seed=3), fit_first=True)
    with torch.no_grad():
        now = log_density(*made.actor.policy(rollout.observation), rollout.raw_action)
    assert torch.equal(now, rollout.log_prob)
    assert rollout.advantage.mean().abs() < 1e-6
    assert rollout.advantage.std(correction=0) == pytest.approx(1.0, abs=1e-5)


# -- guarantees ---------------------------------------------------------------------------------

STATES = torch.randn(32, OBS, generator=torch.Generator().manual_seed(99))


def actions(made: OnPolicyLearner, task: int) -> list[torch.Tensor]:
    found = []
    for kind in (ExplorationType.DETERMINISTIC, ExplorationType.RANDOM):
        with set_exploration_type(kind):
            torch.manual_seed(7)
            found.append(made.policy(task).module(STATES))
    return found


@pytest.mark.parametrize(
    ("mask", "execution", "start"),
    [
        (Step(), "compact", "kept"),
        (Step("identity"), "dense", "kept"),
        (Step(), "dense", "fresh"),
        (PackNet(), "compact", "fresh"),
    ],
    ids=str,
)
def test_finished_policies_stay_bit_for_bit(mask, execution, start):
    protections = (Freeze(by="tasks"),)
    made = learner(
        mask=mask, execution=execution, start=start, code_epochs=1, protections=protections
    )
    kept: dict[int, list[torch.Tensor]] = {}
    for task in range(3):
        before = [p.detach().clone() for p in made.actor.meta_policy.parameters()]
        train(made, task)
        assert any(
            not torch.equal(a, b) for a, b in zip(before, made.actor.meta_policy.parameters())
        )
        for earlier, expected in kept.items():
            for now, then in zip(actions(made, earlier), expected):
                assert torch.equal(now, then), (earlier, task)
        kept[task] = actions(made, task)


def test_packnet_trains_on_with_the_weights_it_kept():
    counts = []
    for retrain in (0.0, 0.5):
        made = learner(mask=PackNet(retrain=retrain), protections=(Freeze(by="tasks"),))
        train(made, 0)
        counts.append(made.updates)
    assert counts == [16, 24]


def test_without_protection_policies_drift_and_a_fresh_start_forgets_all():
    made = learner(protections=(Unprotected(),), mask=Dense(), start="fresh")
    train(made, 0)
    before = [p.detach().clone() for p in made.actor.meta_policy.parameters()]
    made.start_task(1)
    for old, new in zip(before, made.actor.sub.weights().values()):
        assert not torch.equal(old, new) or not new.any()


SETTINGS = [
    {},
    {"code_epochs": 1},
    {"execution": "dense", "start": "fresh", "value_start": "kept"},
    {"mask": Sigmoid(threshold=1e-3, start=1e-2, stop=1e-3)},
    {"protections": (EWC(weight=10.0, samples=8),)},
    {"renewals": (ReDo(every=3, threshold=0.9),)},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_loaded_learner_goes_on_bit_for_bit(settings):
    one = learner(**settings)
    train(one, 0)
    one.start_task(1)
    for i in range(2):
        one.learn(batch(2, 10, seed=i))
    other = learner(seed=1, **settings)
    other.problem = one.problem
    other.load_state_dict(copied(one.state_dict()))
    random = torch.get_rng_state()
    ends = []
    for made in (one, other):
        torch.set_rng_state(random)
        losses = [made.learn(batch(2, 10, seed=5 + i)) for i in range(2)]
        made.end_task()
        train(made, 2)
        acted = [a for task in range(4) for a in actions(made, task)]
        ends.append(([{k: float(v) for k, v in each.items()} for each in losses], acted))
    assert ends[0][0] == ends[1][0]
    for a, b in zip(ends[0][1], ends[1][1]):
        assert torch.equal(a, b)


TINY = """
stream: {name: point, goals: [right, left], horizon: 7}
steps_per_task: 120
frames_per_batch: 24
checkpoint_every: 24
encoder: {name: random, dim: 16}
dictionary: {lmbda: 0.05}
actor: {hidden: [24, 20]}
agent: {name: ppo, num_envs: 4, epochs: 2, value_hidden: [8], value_warmup: 1}
evaluation: {every: 72, episodes: 3, average: 1}
"""


def test_a_stopped_run_ends_as_one_that_was_not(tmp_path, monkeypatch):
    run(loads(TINY), tmp_path / "whole", progress=False)
    learn, calls = OnPolicyLearner.learn, [0]

    def counted(self, data):
        calls[0] += 1
        if calls[0] in (2, 5, 7):
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self, data)

    monkeypatch.setattr(OnPolicyLearner, "learn", counted)
    with pytest.raises(RunStopped):
        run(loads(TINY), tmp_path / "stopped", progress=False)
    for _ in range(2):
        with pytest.raises(RunStopped):
            resume(tmp_path / "stopped", progress=False)
    resume(tmp_path / "stopped", progress=False)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_the_toy_is_learned_and_nothing_is_forgotten(tmp_path):
    overrides = ["stream.goals=[right, left]", "steps_per_task=6000", "encoder=onehot"]
    recipe = load("recipes/ppo_point.yaml", overrides)
    summary = run(recipe, tmp_path / "run", progress=False)
    assert summary["performance"] >= 0.9
    assert summary["forgetting"] == 0.0


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["agent.clip_ratio=0"], r"recipe\.agent\.clip_ratio: expected above 0, got 0"),
        (["agent.num_envs=0"], r"recipe\.agent\.num_envs: expected in \[1, 10000\]"),
        (["agent.gae_lambda=2"], r"recipe\.agent\.gae_lambda: expected in \[0, 1\], got 2"),
        (["agent.value_hidden=[]"], r"recipe\.agent\.value_hidden: expected 1 to 64 widths"),
        (
            ["agent.num_envs=5"],
            r"frames_per_batch: expected a multiple of the agent's num_envs times "
            r"stream\.action_repeat \(5\), got 24; choose 25",
        ),
    ],
)
def test_what_cannot_work_is_refused(overrides, message):
    with pytest.raises(RecipeError, match=message):
        loads(TINY, overrides)


def test_protections_that_rehearse_are_refused():
    with pytest.raises(
        RecipeError, match=r"agent: expected one that keeps rows .*AGEM .*, got PPO"
    ):
        learner(protections=(AGEM(),))


def test_rewards_without_bound_are_named():
    made = learner()
    made.start_task(0)
    data = batch(2, 10, seed=0)
    data["next", "reward"] *= np.inf
    with pytest.raises(RunError, match=r"(value|actor)_loss is (nan|inf) at update"):
        made.learn(data)


@pytest.mark.parametrize("change", [{"start": "fresh"}, {"reset_std": True}], ids=str)
def test_a_task_that_goes_on_does_so_from_its_own_weights(change):
    made = learner(owners=(0, 1, 0, 3, 4, 5), **change)
    train(made, 0)
    train(made, 1)
    ended = actions(made, 0)
    made.start_task(2)
    made.actor.sub.write_back()
    for now, then in zip(actions(made, 0), ended):
        assert torch.equal(now, then)


@pytest.mark.parametrize(("rows", "parts"), [(20, 4), (18, 4), (9, 4), (100, 30), (3, 8)])
def test_a_batch_is_cut_into_as_many_parts_as_are_asked_for(rows, parts):
    made = learner(minibatches=parts)
    made.start_task(0)
    rollout = made.take(batch(1, rows, seed=3), fit_first=False)
    sizes = [len(part.log_prob) for part in made.minibatches(rollout)]
    assert len(sizes) == min(rows, parts)
    assert sum(sizes) == rows
    assert max(sizes) - min(sizes) <= 1
