"""CoMPS: its arithmetic against references, what it keeps, and a task's end cut into pieces."""

from __future__ import annotations

import errno
import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor
from torch.func import functional_call

from cotasp.__main__ import main
from cotasp.agents.acting import SampledBehaviour
from cotasp.agents.comps import CoMPS
from cotasp.agents.experience import Experience, Trajectories
from cotasp.agents.meta_learner import MetaLearner
from cotasp.agents.meta_learning import (
    Skilled,
    Transitions,
    adapted,
    inner_loss,
    meta_loss,
    outer_loss,
)
from cotasp.agents.meta_settings import MetaLearning
from cotasp.agents.meta_training import MetaTraining
from cotasp.agents.on_policy import OnPolicyLearner
from cotasp.agents.on_policy_settings import OnPolicy
from cotasp.agents.rollout import log_density
from cotasp.continual import loop
from cotasp.continual.loop import resume, run
from cotasp.continual.opened import open_run
from cotasp.continual.revisits import Revisits
from cotasp.continual.setup import make_learner, make_tasks
from cotasp.errors import RecipeError, RunError, RunStopped
from cotasp.methods.freeze import Freeze
from cotasp.methods.method import Method
from cotasp.methods.problem import Problem
from cotasp.modules.masks import Step
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.specs import ActorSpec
from cotasp.prompting.encoders import RandomEncoder
from cotasp.prompting.sparse_coding import SparseCoding
from cotasp.recipe import loads
from cotasp.storage import rows as storage
from cotasp.tasks.point import PointEnv
from cotasp.testing._toy import copied
from tests.agents.problems import ACT, OBS
from tests.agents.test_ppo import batch
from tests.continual.runs import contents

TASKS, BATCH = 3, 12


def problem(steps: int) -> tuple[Any, dict[str, Tensor], dict[str, Tensor], Transitions, Skilled]:
    """A policy in float64, its weights and step sizes, and rows [TASKS, steps, BATCH]."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    torch.manual_seed(1)
    network = MetaPolicy(OBS, ACT, (7, 5), log_std_range=(-1.0, 1.0), head_scale=0.3).double()
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    step_sizes = {
        name: 0.03 * normal(*w.shape).abs() for name, w in weights.items() if "log_std" not in name
    }

    def heads(weights: dict[str, Tensor], observation: Tensor) -> tuple[Tensor, Tensor]:
        return functional_call(network, dict(weights), (observation,))

    shape = TASKS, steps, BATCH
    rows = Transitions(normal(*shape, OBS), normal(*shape, ACT), normal(*shape) - 3, normal(*shape))
    skilled = Skilled(normal(TASKS, BATCH, OBS), normal(TASKS, BATCH, ACT))
    return heads, weights, step_sizes, rows, skilled


def of_task(columns: Any, task: int) -> Any:
    return type(columns)(*(column[task] for column in columns))


# -- arithmetic ---------------------------------------------------------------------------------


def test_an_inner_step_goes_down_the_gradient_that_finite_differences_give():
    heads, weights, step_sizes, rows, _ = problem(steps=1)
    first = of_task(of_task(rows, 0), 0)
    with torch.no_grad():  # the weights' ratios are constants: held at where they begin
        log_prob = log_density(*heads(weights, first.observation), first.raw_action)
        ratio = (log_prob - first.log_prob).exp().clamp(0.8, 1.2)

    def loss(weights: dict[str, Tensor]) -> float:
        log_prob = log_density(*heads(weights, first.observation), first.raw_action)
        return float(-(ratio * log_prob * first.advantage).mean())

    assert float(inner_loss(heads, weights, first, 0.2)) == pytest.approx(loss(weights), abs=1e-12)
    reached = adapted(heads, weights, step_sizes, of_task(rows, 0), 0.2)
    for name, size in step_sizes.items():
        flat = weights[name].flatten()
        for i in (0, len(flat) // 2, len(flat) - 1):
            slopes = []
            for sign in (1, -1):
                moved = flat.clone()
                moved[i] += sign * 1e-6
                slopes.append(loss({**weights, name: moved.view_as(weights[name])}))
            slope = (slopes[0] - slopes[1]) / 2e-6
            step = float((weights[name] - reached[name]).flatten()[i])
            assert step == pytest.approx(float(size.flatten()[i]) * slope, rel=1e-5, abs=1e-9)
    assert torch.equal(reached["log_std.weight"], weights["log_std.weight"])


def test_step_sizes_of_zero_change_nothing():
    heads, weights, step_sizes, rows, skilled = problem(steps=2)
    zero = {name: torch.zeros_like(a) for name, a in step_sizes.items()}
    for name, weight in adapted(heads, weights, zero, of_task(rows, 0), 0.2).items():
        assert torch.equal(weight, weights[name])
    cloning = torch.stack(
        [outer_loss(heads, weights, of_task(skilled, j), "squared") for j in range(TASKS)]
    ).mean()
    torch.testing.assert_close(meta_loss(heads, weights, zero, rows, skilled, 0.2), cloning)


def test_weights_clipped_to_one_are_plain_policy_gradient():
    heads, weights, _, rows, _ = problem(steps=1)
    first = of_task(of_task(rows, 0), 0)
    log_prob = log_density(*heads(weights, first.observation), first.raw_action)
    plain = -(log_prob * first.advantage).mean()
    assert torch.equal(inner_loss(heads, weights, first, 0.0), plain)


def reference(
    heads: Any,
    weights: dict[str, Tensor],
    step_sizes: dict[str, Tensor],
    rows: Transitions,
    skilled: Skilled,
    order: str,
    outer: str,
) -> Tensor:
    """The meta-loss task by task, by autograd of autograd."""
    losses = []
    for j in range(TASKS):
        now = dict(weights)
        for i in range(rows.log_prob.shape[1]):
            loss = inner_loss(heads, now, of_task(of_task(rows, j), i), 0.2)
            names = list(step_sizes)
            slopes = torch.autograd.grad(loss, [now[n] for n in names], create_graph=True)
            if order == "first":
                slopes = [slope.detach() for slope in slopes]
            now = {**now, **{n: now[n] - step_sizes[n] * s for n, s in zip(names, slopes)}}
        loc, scale = heads(now, skilled.observation[j])
        if outer == "squared":
            away = torch.tanh(loc) - torch.tanh(skilled.raw_action[j])
            losses.append(away.square().sum(-1).mean())
        else:
            normal = torch.distributions.Normal(loc, scale)
            losses.append(-normal.log_prob(skilled.raw_action[j]).sum(-1).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("steps", "order", "outer"),
    [(1, "second", "squared"), (2, "second", "likelihood"), (2, "first", "squared")],
)
def test_the_outer_gradient_is_autograds_of_autograd(steps, order, outer):
    heads, weights, step_sizes, rows, skilled = problem(steps)
    leaves = {k: w.requires_grad_() for k, w in weights.items()}
    sizes = {k: a.requires_grad_() for k, a in step_sizes.items()}
    learned = [leaves[k] for k in sizes] + list(sizes.values())
    found = meta_loss(heads, leaves, sizes, rows, skilled, 0.2, order, outer)
    expected = reference(heads, leaves, sizes, rows, skilled, order, outer)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    gradients = torch.autograd.grad(found, learned)
    for one, other in zip(gradients, torch.autograd.grad(expected, learned)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)
        assert one.abs().sum() > 0


def test_second_order_differs_from_first():
    heads, weights, step_sizes, rows, skilled = problem(steps=1)
    leaf = {**weights, "mean.weight": weights["mean.weight"].requires_grad_()}
    both = [
        torch.autograd.grad(
            meta_loss(heads, leaf, step_sizes, rows, skilled, 0.2, order), leaf["mean.weight"]
        )[0]
        for order in ("second", "first")
    ]
    assert not torch.allclose(*both)


def test_training_lowers_the_loss_and_tasks_may_be_drawn():
    kept = []
    for j in range(TASKS):
        experience = Experience(j, 200, (OBS, ACT), "first")
        generator = torch.Generator().manual_seed(j)
        draw = partial(torch.randn, generator=generator)
        experience.add(Transitions(draw(200, OBS), draw(200, ACT), draw(200) - 3, draw(200)))
        kept.append(experience)
    skilled = [Skilled(torch.randn(50, OBS), torch.full((50, ACT), 0.5)) for _ in range(TASKS)]
    network = MetaPolicy(OBS, ACT, (7, 5))

    def heads(weights, observation):
        return functional_call(network, dict(weights), (observation,))

    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    sizes = {k: torch.full_like(w, 0.1) for k, w in start.items() if "log_std" not in k}
    settings = MetaLearning(updates=60, batch_size=20, tasks_per_update=2, learning_rate=1e-2)
    made = MetaTraining(settings, heads, start, sizes, kept, skilled, seed=0)
    for _ in range(60):
        made.update()
    assert made.loss < 0.5 * made.first_loss
    assert torch.equal(made.start["log_std.weight"], start["log_std.weight"])
    assert not torch.equal(made.step_sizes["mean.weight"], sizes["mean.weight"])


# -- what is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "left"), [("first", range(8)), ("last", range(15, 23))])
def test_a_bounded_memory_keeps_the_first_rows_or_the_last(keep, left):
    made = Experience(0, 8, (1, 1), keep)
    for first, last in ((0, 5), (5, 6), (6, 23)):
        numbers = torch.arange(first, last).float()
        made.add(Transitions(numbers[:, None], numbers[:, None], numbers, numbers))
        rows = made.rows()
        assert rows.stop - rows.start == min(8, last)
    read = rows.read(rows.start, rows.stop)
    assert read["log_prob"].tolist() == list(left)
    other = Experience(0, 8, (1, 1), keep)
    other.load(rows)
    for one, two in zip(made.columns, other.columns):
        assert torch.equal(one, two)
    assert set(other.sample((100,), torch.Generator()).advantage.tolist()) == set(map(float, left))
    with pytest.raises(RunError, match=r"expected at most 7 rows, as meta\.rows_per_task"):
        Experience(0, 7, (1, 1), keep).load(rows)


def test_trajectories_are_the_episodes_of_highest_return():
    data = batch(2, 60, seed=4)
    begins = torch.zeros(2, 60, 1, dtype=torch.bool)
    begins[:, 1:] = data["next", "done"][:, :-1]
    begins[:, 0] = begins[0, 33] = True  # one episode is left in its middle
    data["is_init"] = begins
    expected = []
    for i in range(2):
        first = 0
        for t in range(60):
            first = t if begins[i, t] else first
            if data["next", "done"][i, t]:
                value = float(data["next", "reward"][i, first : t + 1].double().sum())
                expected.append((value, data["raw_action"][i, first : t + 1]))
    expected = sorted(expected, key=lambda pair: -pair[0])[:4]
    made = Trajectories(4)
    for first, last in ((0, 7), (7, 8), (8, 40), (40, 60)):
        other = Trajectories(4)
        other.load_state_dict(copied(made.state_dict()))
        other.add(data[:, first:last])
        made = other
    assert made.returns == pytest.approx([value for value, _ in expected])
    for episode, (_, actions) in zip(made.episodes, expected):
        assert torch.equal(episode.raw_action, actions)
    assert len(made.rows().observation) == sum(len(actions) for _, actions in expected)


def test_a_task_without_a_whole_episode_is_named():
    made = Trajectories(4)
    with pytest.raises(RunError, match="no episode ended within the task"):
        made.rows()


# -- the learner --------------------------------------------------------------------------------


def comps(seed: int = 0, **meta: Any) -> MetaLearner:
    torch.manual_seed(seed)
    actor = ActorSpec(hidden=(10, 9), log_std_range=(-2.0, 1.0))
    parts = RandomEncoder(dim=16), SparseCoding(lmbda=0.05), Step(), (Freeze(),), actor
    settings = {"updates": 6, "batch_size": 8, "skilled": 2, "step_size": 0.1} | meta
    ppo = OnPolicy(num_envs=2, value_hidden=(8,), epochs=2, gamma=0.9)
    stream = Problem(["a", "b", "c"], OBS, ACT, steps_per_task=80)
    return MetaLearner(ppo, MetaLearning(**settings), stream, Method(*parts))


def whole(steps: int, seed: int) -> TensorDict:
    """A batch of whole episodes of five steps."""
    data = batch(2, steps, seed)
    ends = (torch.arange(steps) % 5 == 4).expand(2, steps).unsqueeze(-1).clone()
    data["next", "done"], data["next", "truncated"] = ends, ends.clone()
    data["next", "terminated"] = torch.zeros_like(ends)
    data["is_init"] = (torch.arange(steps) % 5 == 0).expand(2, steps).unsqueeze(-1).clone()
    return data


def train(made: MetaLearner, task: int, begin: int = 0) -> None:
    if begin == 0:
        made.start_task(task)
    for i in range(begin, 4):
        made.learn(whole(10, seed=100 * task + i))
    made.end_task()


def weights(made: MetaLearner, task: int) -> dict[str, Tensor]:
    return {k: w.detach().clone() for k, w in made.sub_network(task).named_parameters()}


def test_the_first_batch_of_a_later_task_is_learned_from_by_the_learned_step():
    made = comps()
    train(made, 0)
    made.start_task(1)
    start = weights(made, 1)
    for name, weight in made.start.items():
        assert torch.equal(start[name], weight)
    data = whole(10, seed=1)
    made.learn(data)
    rows = Transitions(*(c[:20][None] for c in made.experience[1].columns))
    expected = adapted(made._heads, made.start, made.step_sizes, rows, 0.2)
    for name, weight in weights(made, 1).items():
        torch.testing.assert_close(weight, expected[name])
    before = weights(made, 1)
    made.learn(whole(10, seed=2))
    assert not torch.equal(before["mean.weight"], weights(made, 1)["mean.weight"])


@pytest.mark.parametrize(
    ("settings", "fitted"),
    [({}, [0, 1]), ({"fast_updates": 2}, [0, 1, 2]), ({"inner_steps": 0}, [0])],
)
def test_the_value_network_is_fitted_again_to_the_policy_that_a_learned_step_led_to(
    settings, fitted, monkeypatch
):
    seen, fit = [], OnPolicyLearner._fit
    made = comps(**settings)
    made.ppo.settings = replace(made.ppo.settings, value_warmup=7)
    monkeypatch.setattr(
        OnPolicyLearner,
        "_fit",
        lambda self, observation, target, epochs: (
            seen.append((made.batches, epochs)) or fit(self, observation, target, epochs)
        ),
    )
    for task, expected in ((0, [0]), (1, fitted)):
        seen.clear()
        train(made, task)
        assert [at for at, epochs in seen if epochs == 7] == expected


def test_finished_policies_are_kept_as_copies():
    made, kept = comps(), []
    for task in range(3):
        train(made, task)
        kept.append(weights(made, task))
        for earlier, expected in enumerate(kept):
            for name, weight in weights(made, earlier).items():
                assert torch.equal(weight, expected[name])
    assert not torch.equal(kept[0]["mean.weight"], kept[2]["mean.weight"])


@pytest.mark.parametrize(
    "settings", [{}, {"begin": "fresh"}, {"inner_steps": 0}, {"rows_per_task": 25, "keep": "last"}]
)
@pytest.mark.parametrize("moment", ["in a task", "at its end", "between tasks"])
def test_a_loaded_learner_goes_on_bit_for_bit(settings, moment):
    one = comps(**settings)
    train(one, 0)
    begun = 0
    if moment != "between tasks":
        one.start_task(1)
        begun = 2 if moment == "in a task" else 4
        for i in range(begun):
            one.learn(whole(10, seed=100 + i))
    if moment == "at its end":
        assert one.consolidate(0.0) == (1, 6)
    other = comps(seed=1, **settings)
    other.load_state_dict(copied(one.state_dict()))
    random = torch.get_rng_state()
    for made in (one, other):
        torch.set_rng_state(random)
        train(made, 1, begun)
        train(made, 2)
    for task in range(3):
        for name, weight in weights(one, task).items():
            assert torch.equal(weight, weights(other, task)[name]), (task, name)
    for mine, yours in ((one.start, other.start), (one.step_sizes, other.step_sizes)):
        for name, tensor in mine.items():
            assert torch.equal(tensor, yours[name]), name


def test_experience_is_saved_row_by_row_once():
    made = comps()
    train(made, 0)
    tables = made.state_dict()["experience"]
    assert [(t.name, t.start, t.stop) for t in tables] == [("experience_01", 0, 80)]
    made.start_task(1)
    made.learn(whole(10, seed=1))
    tables = made.state_dict()["experience"]
    assert [(t.name, t.start, t.stop) for t in tables] == [
        ("experience_01", 0, 80),
        ("experience_02", 0, 20),
    ]
    assert isinstance(tables[0], storage.Rows)


# -- runs ---------------------------------------------------------------------------------------

TINY = """
stream: {name: point_goals, count: 3, horizon: 6}
steps_per_task: 72
frames_per_batch: 24
checkpoint_every: 24
encoder: {name: random, dim: 16}
mask: dense
protection: none
actor: {hidden: [12, 10]}
agent:
  name: comps
  ppo: {num_envs: 4, epochs: 2, value_hidden: [8]}
  meta: {updates: 12, batch_size: 8, skilled: 2}
evaluation: {every: 72, episodes: 3, average: 1}
"""


def at_update(monkeypatch: pytest.MonkeyPatch, *numbers: int, then: Any) -> None:
    """Calls `then` in the middle of those updates of meta-training, counted from now on."""
    update, count = MetaTraining.update, [0]

    def counted(self):
        count[0] += 1
        if count[0] in numbers:
            then()
        update(self)

    monkeypatch.setattr(MetaTraining, "update", counted)
    monkeypatch.setattr(loop, "PIECE", 0.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comps") / "run"
    run(loads(TINY), out, progress=False)
    return out


ANEW = ["agent.meta={inner_data: anew, anew_every: 5, updates: 12, batch_size: 8, skilled: 2}"]


@pytest.fixture(scope="module")
def revisiting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gmps") / "run"
    run(loads(TINY, ANEW), out, progress=False)
    return out


def test_old_tasks_are_revisited_by_the_start_and_counted(revisiting, undisturbed):
    """By updates 0, 5 and 10 of each end, 4 episodes of 6 steps in every finished task."""
    for path, expected in ((revisiting, [1, 1 + 2, 1 + 2 + 3]), (undisturbed, [0, 0, 0])):
        lines = (path / "metrics.csv").read_text().splitlines()
        told = [line.rpartition(",")[2] for line in lines if "revisited_steps" in line]
        assert [float(steps) for steps in told] == [3 * 24 * times for times in expected]
    both = [
        json.loads((path / "evaluations.json").read_text())["training"]["episode_return"]
        for path in (revisiting, undisturbed)
    ]
    assert both[0][0] == both[1][0], "the first task knows nothing of it"
    assert both[0][1] != both[1][1]


def test_what_is_taken_anew_is_the_starts_own():
    """Against a loop: its advantages are differences to the mean over episodes at the same step,
    and nothing counts of what comes after an episode's end.
    """
    recipe = loads(TINY, ANEW)
    made = make_learner(recipe, make_tasks(recipe))
    made.policies = [made._weights()]
    random = torch.get_rng_state()
    rows, again = (made._revisited_rows(0, made.start, 5) for _ in range(2))
    other = made._revisited_rows(0, made.start, 10)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(rows.raw_action, again.raw_action)
    assert not torch.equal(rows.raw_action, other.raw_action)
    assert made.revisited == 3 * 24
    loc, scale = made._heads(made.start, rows.observation)
    density = torch.distributions.Normal(loc, scale).log_prob(rows.raw_action).sum(-1)
    torch.testing.assert_close(rows.log_prob, density)
    acting = SampledBehaviour()
    acting.act_by(made._network(made.start))
    policy = TensorDictModule(acting, ["observation"], ["action", "raw_action"])
    reward = made.problem.revisit(0, policy, 4, 1, 5)["next", "reward"].squeeze(-1).double()
    assert reward.shape == (4, 6)
    gamma = made.ppo.gamma
    ahead = [[sum(gamma**k * r for k, r in enumerate(row[t:])) for t in range(6)] for row in reward]
    difference = torch.tensor(ahead) - torch.tensor(ahead).mean(dim=0)
    expected = difference / difference.std(correction=0)
    torch.testing.assert_close(rows.advantage.double(), expected.flatten(), rtol=1e-3, atol=1e-4)

    whole, revisit = rows, made.problem.revisit

    def ends_early(*arguments: Any) -> TensorDict:
        data = revisit(*arguments)
        for key in ("done", "terminated"):
            data["next", key][1, 2] = True  # the second environment's third step
        return data

    made.problem = replace(made.problem, revisit=ends_early)
    rows = made._revisited_rows(0, made.start, 5)
    left = [t for t in range(24) if t // 6 != 1 or t % 6 <= 2]
    assert torch.equal(rows.raw_action, whole.raw_action[left])
    short = [sum(gamma**k * r for k, r in enumerate(reward[1, t:3])) for t in range(3)]
    ahead[1] = [*short, *(torch.tensor(0.0),) * 3]
    difference = (torch.tensor(ahead) - torch.tensor(ahead).mean(dim=0)).flatten()[left]
    expected = (difference - difference.mean()) / difference.std(correction=0)
    torch.testing.assert_close(rows.advantage.double(), expected.double(), rtol=1e-3, atol=1e-4)


def test_revisits_go_on_bit_for_bit(revisiting, tmp_path, monkeypatch):
    """Stopped at updates that begin with a revisit, and within a stretch that one serves."""
    at_update(monkeypatch, 6, 15, 21, then=lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(RunStopped):
        run(loads(TINY, ANEW), tmp_path / "run", progress=False)
    for _ in range(2):
        with pytest.raises(RunStopped):
            resume(tmp_path / "run", progress=False)
    resume(tmp_path / "run", progress=False)
    assert contents(tmp_path / "run") == contents(revisiting)


def test_a_run_is_asked_by_the_names_of_its_tasks_and_not_by_sentences(undisturbed, tmp_path):
    opened = open_run(undisturbed)
    names = [task.name for task in opened.tasks]
    assert [names[i] for i in opened.finished] == names
    assert len(opened.play(task=names[0])) == 1
    assert len(opened.evaluate(task=names[0], episodes=2).success) == 2
    assert main(["play", str(undisturbed), "--all", "--out", str(tmp_path / "all.gif")]) == 0
    with pytest.raises(RunError, match="a CoMPS has no prompts, so that a sentence means nothing"):
        opened.prompt("Reach the goal.")


def test_a_signal_is_heeded_at_a_tasks_end(undisturbed, tmp_path, monkeypatch):
    at_update(monkeypatch, 5, 20, then=lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(RunStopped, match=r"at the end of task 'goal-.*' after 5 updates"):
        run(loads(TINY), tmp_path / "run", progress=False)
    saved = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("task_*"))
    assert "task_01_end_000000005" in saved
    with pytest.raises(RunStopped):
        resume(tmp_path / "run", progress=False)
    resume(tmp_path / "run", progress=False)
    assert contents(tmp_path / "run") == contents(undisturbed)
    files = (tmp_path / "run" / "checkpoints" / "rows").glob("experience_*/*")
    names = sorted(f"{path.parent.name}/{path.name[:19]}" for path in files)
    assert all(names.count(name) == 1 for name in names)
    assert {name.partition("/")[0] for name in names} == {f"experience_0{i}" for i in (1, 2, 3)}


def test_killed_in_the_middle_of_a_tasks_end(undisturbed, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)  # saves after every update
    at_update(monkeypatch, 8, 24, then=kill)
    for go_on in (partial(run, loads(TINY)), resume):
        with pytest.raises(Killed):
            go_on(tmp_path / "run", progress=False)
    resume(tmp_path / "run", progress=False)
    assert contents(tmp_path / "run") == contents(undisturbed)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mask=step"], r"mask: expected dense, for CoMPS has one network without masks, got Step"),
        (["protection=freeze"], r"protection: expected none, .* CoMPS keeps a copy"),
        (["memory=shelf"], r"memory: expected task, for CoMPS keeps all transitions by itself"),
        (
            ["actor.heads=per_task"],
            r"actor\.heads: expected shared, for CoMPS prepares one network",
        ),
        (
            ["stream={name: point, goals: [left, top], together: 2}"],
            r"stream\.together: expected 1 with CoMPS",
        ),
        (["agent.ppo.start=fresh"], r"agent\.ppo\.start: expected kept with comps"),
        (["agent.ppo.reset_std=true"], r"agent\.ppo\.reset_std: expected False with comps"),
        (["agent.ppo.code_epochs=1"], r"agent\.ppo\.code_epochs: expected 0 with comps"),
        (["agent.ppo.num_envs=24"], r"agent\.ppo\.num_envs: expected at most 12, so that .* of 6"),
        (["agent.meta.skilled=0"], r"recipe\.agent\.meta\.skilled: expected at least 1, got 0"),
        (["agent.meta.weight_clip=2"], r"meta\.weight_clip: expected in \[0, 1\], got 2"),
        (
            ["agent.ppo.num_envs=5"],
            r"frames_per_batch: expected a multiple of the agent's num_envs",
        ),
        (
            [*ANEW, "agent.ppo.num_envs=1"],
            r"recipe\.agent\.ppo\.num_envs: expected at least 2 with meta\.inner_data 'anew'",
        ),
        ([*ANEW, "agent.meta.inner_steps=0"], r"inner_data: expected 'kept' without inner steps"),
        (["agent.meta.anew_every=0"], r"meta\.anew_every: expected at least 1, got 0"),
        (["stream.count=1"], r"recipe\.stream: expected two tasks or more, .* use the agent ppo"),
        (["stream={name: point, goals: [left]}"], r"recipe\.stream: expected two tasks or more"),
        (
            ["agent.meta.rows_per_task=5"],
            r"recipe\.agent\.meta\.rows_per_task: expected at least the 6 transitions of an",
        ),
    ],
)
def test_what_cannot_work_is_refused(overrides, message):
    with pytest.raises(RecipeError, match=message):
        loads(TINY, overrides)


def test_a_stream_that_does_not_count_its_tasks_is_refused_when_they_are_made():
    problem = Problem(["Go."], OBS, ACT, 72, horizon=6)
    with pytest.raises(RecipeError, match=r"^recipe\.stream: expected two tasks or more, got one"):
        CoMPS().learner(problem, loads(TINY).method)


@pytest.mark.parametrize(
    ("horizon", "why"), [(None, "for tasks without one horizon.*"), (6, "where tasks cannot be.*")]
)
def test_tasks_that_cannot_be_revisited_are_refused(horizon, why):
    problem = Problem(["Go.", "Come."], OBS, ACT, 72, horizon=horizon)
    agent = CoMPS(OnPolicy(num_envs=2), MetaLearning(inner_data="anew"))
    with pytest.raises(RecipeError, match=rf"inner_data: expected 'kept' {why} got 'anew'"):
        agent.learner(problem, loads(TINY).method)


def test_a_fault_in_a_revisit_stops_the_run_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Revisits, "__call__", while_broken(Revisits.__call__))
    with pytest.raises(RunError, match=r"task 'goal-[\d.]+, revisited', step 1: .*ValueError"):
        run(loads(TINY, [*ANEW, "faults=skip"]), tmp_path / "run", progress=False)


def while_broken(call: Any) -> Any:
    """A call during which no environment can be stepped."""

    def broken(self, *rest, **more):
        raise ValueError("no contact model")

    def called(*arguments: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PointEnv, "_step", broken)
            return call(*arguments)

    return called


def test_experience_beyond_the_disk_is_refused(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda where: SimpleNamespace(free=1_000))
    with pytest.raises(RecipeError, match=r"transitions that fit in the 0\.0 MB left in .*TMPDIR"):
        comps()


def test_experience_for_which_the_disk_has_no_room_left_is_refused(monkeypatch):
    class Full:
        def __enter__(self):
            raise OSError(errno.ENOSPC, "No space left on device")

        def __exit__(self, *error):
            pass

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    with pytest.raises(RunError, match=r"^experience_02: expected room for 8 .*got No space"):
        Experience(1, 8, (1, 1), "first")


def test_experience_lies_in_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Experience(0, 1_000, (3, 2), "first")
    maps = Path("/proc/self/maps")
    if maps.exists():  # Linux
        assert maps.read_text().count(str(tmp_path)) >= len(made.columns)
    assert not any(tmp_path.iterdir())  # gone with the process, however it ends
    assert all(not column.any() for column in made.columns)


@pytest.mark.parametrize("returning", ["same", "recall"])
def test_tasks_that_come_back_are_refused_and_nothing_is_written(returning, tmp_path):
    recipe = loads(
        "{stream: {name: point, goals: [right, right]}, encoder: onehot, mask: dense, "
        "protection: none, agent: comps, steps_per_task: 300, frames_per_batch: 300, "
        "evaluation: {every: 300, average: 1}}",
        [f"stream.returning={returning}"],
    )
    with pytest.raises(RecipeError, match=r"stream\.returning: expected 'new' with the agent"):
        run(recipe, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
