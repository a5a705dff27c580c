"""Lessons: several tasks that are learned at once."""

from __future__ import annotations

import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from tensordict.nn import TensorDictModule

import cotasp
from cotasp.continual.adapting import longer
from cotasp.continual.collection import Collection
from cotasp.continual.kept import Kept
from cotasp.continual.loop import run
from cotasp.continual.metrics import METRICS
from cotasp.continual.protocol import protocol_stamp
from cotasp.continual.setup import make_tasks
from cotasp.errors import RecipeError
from cotasp.prompting.encoders import RandomEncoder
from cotasp.tasks.entries import GymEntry, one_hot
from cotasp.tasks.gym_streams import Gymnasium
from cotasp.tasks.lessons import check_lessons, make_lesson, taught_phrasings
from cotasp.tasks.point_streams import Point
from cotasp.tasks.streams import CW10, MetaWorld
from cotasp.tasks.task import owners
from cotasp.testing import check_stream
from tests.continual.runs import tiny

GOALS = ("right", "left", "top", "bottom")
PAIRS = Point(GOALS, horizon=6, together=2)
WINDOWS = MetaWorld(("window-open-v3", "window-close-v3"), horizon=4, together=2)


def walk(env, steps: int, seed: int = 0) -> list:
    generator = torch.Generator().manual_seed(seed)
    now, found = env.reset(), []
    for _ in range(steps):
        now["action"] = torch.rand(env.action_spec.shape, generator=generator) * 2 - 1
        frame, now = env.step_and_maybe_reset(now)
        found.append(frame)
    return found


@pytest.mark.parametrize("stream", [PAIRS, WINDOWS], ids=["point", "metaworld"])
def test_the_contract_of_streams_holds(stream):
    check_stream(stream, 2)


def test_episodes_take_turns_and_observations_say_whose_it_is():
    tasks = PAIRS.make_tasks()
    env = make_lesson(tasks[2:], seed=3)
    marks = torch.stack([frame["observation"][-2:] for frame in walk(env, 18)])
    assert marks.argmax(-1).tolist() == [0] * 6 + [1] * 6 + [0] * 6
    assert torch.equal(marks.sum(-1), torch.ones(18))
    assert env.observation_spec["observation"].shape == (6,)


@pytest.mark.parametrize("num_envs", [None, 2])
def test_equal_seeds_give_equal_resets_whosever_turn_it_was(num_envs):
    env = make_lesson(Point(GOALS[:3], horizon=6, together=3).make_tasks(), num_envs)
    env.set_seed(5)
    first = env.reset()
    assert not torch.equal(env.reset()["observation"], first["observation"])
    env.set_seed(5)
    assert torch.equal(env.reset()["observation"], first["observation"])


def test_each_turn_is_an_episode_of_the_task_itself():
    """Against the tasks' own environments, seeded alike and given the same actions."""
    tasks = PAIRS.make_tasks()[:2]
    seeds = np.random.SeedSequence(5).generate_state(2).tolist()
    frames = walk(make_lesson(tasks, seed=5), 12)
    for turn, (task, seed) in enumerate(zip(tasks, seeds)):
        env = task.build(None, seed)
        env.set_seed(seed)
        now = env.reset()
        for frame in frames[6 * turn : 6 * turn + 6]:
            assert torch.equal(frame["observation"][:4], now["observation"])
            after = env.step(now.set("action", frame["action"]))["next"]
            assert torch.equal(frame["next", "reward"], after["reward"])
            assert torch.equal(frame["next", "observation"][:4], after["observation"])
            now = after.clone()


def test_in_a_batch_each_place_takes_its_own_turns():
    env = make_lesson(PAIRS.make_tasks()[:2], num_envs=3, seed=0)
    frames = walk(env, 12)
    marks = torch.stack([frame["observation"][:, -2:].argmax(-1) for frame in frames], 1)
    assert marks.tolist() == [[0] * 6 + [1] * 6, [1] * 6 + [0] * 6, [0] * 6 + [1] * 6]
    rewards = {task.name: task for task in PAIRS.make_tasks()}
    assert len(rewards) == 4
    first = torch.stack([frame["next", "reward"][:, 0] for frame in frames], 1)
    assert len(set(first.flatten().tolist())) == first.numel(), "places do not share a simulator"


@pytest.mark.parametrize("steps", [0, 4, 6, 9])
@pytest.mark.parametrize("stream", [PAIRS, WINDOWS], ids=["point", "metaworld"])
def test_its_state_brings_it_back_to_any_step(stream, steps):
    env, other = (make_lesson(stream.make_tasks()[:2], seed=seed) for seed in (1, 2))
    now = (walk(env, steps) or [{"next": env.reset()}])[-1]["next"]
    if now["done"].any():
        now = env.reset()
    other.load_state_dict(env.state_dict())
    for _ in range(10):
        now["action"] = torch.full((env.action_spec.shape[-1],), 0.3)
        one, theirs = (each.step(now.clone())["next"] for each in (env, other))
        assert torch.equal(one["observation"], theirs["observation"])
        assert torch.equal(one["reward"], theirs["reward"])
        now = one
        if now["done"].any():
            now, again = env.reset(), other.reset()
            assert torch.equal(now["observation"], again["observation"])


def test_tasks_of_a_lesson_have_one_owner_that_is_taught_all_their_texts():
    tasks = PAIRS.make_tasks()
    assert owners(tasks) == (0, 0, 2, 2)
    texts = [task.text for task in tasks]
    assert taught_phrasings(tasks) == [(texts[1],), (), (texts[3],), ()]
    doubled = Point(({"env": "right", "text": ["Go.", "Move!", "go"]}, "left")).make_tasks()
    assert taught_phrasings(doubled) == [("Move!",), ()], "those that encoders read alike are one"
    both = [replace(task, together=2, part=i) for i, task in enumerate(doubled)]
    assert taught_phrasings([both[0], replace(both[1], text="MOVE")]) == [("Move!",), ()]
    alone = PAIRS.alone(1).make_tasks()
    assert [(task.together, task.part) for task in alone] == [(1, 0)]
    check_lessons(tasks)
    with pytest.raises(RecipeError, match=r"lessons: expected 3 tasks in lessons of equal size"):
        check_lessons(tasks[:3])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two lessons of two goals, by CoTASP."""
    out = tmp_path_factory.mktemp("lessons") / "run"
    stream = "stream={name: point, goals: [right, left, top, bottom], horizon: 7, together: 2}"
    recipe = tiny(stream, "actor.hidden=[96, 96]", "encoder={name: random, dim: 32}")
    return recipe, run(recipe, out, progress=False), out


def test_a_lesson_has_the_budgets_of_its_tasks(finished):
    _, summary, _ = finished
    assert summary["steps"] == 400
    evaluations = summary["evaluations"]
    assert evaluations["lessons"] == [0, 0, 2, 2]
    assert evaluations["trained"] == [0, 0, 0, 2, 2, 2]
    assert evaluations["task_steps"] == [0, 100, 200, 0, 100, 200]
    known = [[i for i, p in enumerate(row) if p is not None] for row in zip(*summary["success"])]
    assert known == [[0, 1]] * 3 + [[2, 3]] * 2 + [[0, 1, 2, 3]]
    assert Kept.from_summary(summary).lesson.tolist() == [0, 0, 2, 2]
    assert summary["forgetting"] == 0.0, "the second lesson changed nothing of the first"
    assert summary["steps_to_threshold"] is None
    assert summary["forward_transfer"] is None
    assert summary["plasticity"] is not None


def test_all_tasks_of_a_finished_lesson_can_be_asked_for(finished):
    recipe, summary, out = finished
    opened = cotasp.open_run(out)
    assert opened.finished == [0, 1, 2, 3]
    texts = [task.text for task in make_tasks(recipe)]
    observation = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    policies = [opened.policy(text) for text in texts]
    assert all(isinstance(policy, TensorDictModule) for policy in policies)
    actions = [policy(_rows(observation))["action"] for policy in policies]
    assert torch.equal(actions[0], actions[1])
    assert not torch.equal(actions[0], actions[2])
    facts = opened.prompt(texts[3])
    assert (facts.verdict, facts.task) == ("known", "bottom")
    assert opened.evaluate(task="left").score().success == summary["success"][1][-1]


def _rows(observation):
    from tensordict import TensorDict

    return TensorDict({"observation": observation}, batch_size=[len(observation)])


def test_where_there_is_one_lesson_nothing_can_be_forgotten(tmp_path):
    stream = "stream={name: point, goals: [right, left], horizon: 7, together: 2}"
    summary = run(tiny(stream), tmp_path, progress=False)
    assert summary["forgetting"] is None
    assert summary["performance"] is not None
    kept = Kept.from_summary(json.loads((tmp_path / "summary.json").read_text()))
    assert np.isnan(METRICS["forgetting"](kept))


def test_it_may_stand_in_one_table_with_runs_of_the_same_tasks_and_budget():
    """Every task has the same budget and is evaluated on the same episodes."""
    streams = [
        f"stream={{name: point, goals: [{', '.join(GOALS)}], together: {n}}}" for n in (1, 4)
    ]
    stamps = [protocol_stamp(tiny(stream)) for stream in streams]
    assert len({stamp["hash"] for stamp in stamps}) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CW10(together=3), r"^CW10.together: expected a divisor of the 10 tasks, .* 10 "),
        (lambda: CW10(together=0), r"^CW10.together: expected a divisor of the 10 tasks"),
        (
            lambda: Point(GOALS, together=2, returning="same"),
            r"^Point.together: expected 1 where tasks return as 'same', got 2",
        ),
        (
            lambda: Point(("left", "left"), together=2),
            r"^Point.together: expected 1 where an environment comes twice, got 2",
        ),
    ],
)
def test_lessons_that_cannot_be(make, message):
    with pytest.raises(RecipeError, match=message):
        make()


def test_nothing_is_adapted_to_a_task_that_the_policy_has_no_number_for():
    recipe = tiny("stream={name: point, goals: [right, left], together: 2}")
    with pytest.raises(RecipeError, match=r"^adapt: the tasks of this run train 2 at once"):
        longer(recipe, 2, "top", None, 100)


def marks_of(*overrides):
    stream = "stream={name: point, goals: [right, left, right], horizon: 7, returning: same}"
    tasks = make_tasks(tiny(stream, *overrides))
    rows = [task.make_env(seed=0).reset()["observation"][4:] for task in tasks]
    return tasks, torch.stack(rows)


def test_a_recipe_may_tell_the_number_of_the_task_which_is_its_owner_s():
    _, marks = marks_of("task_input=number")
    assert marks.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert marks_of()[1].shape == (3, 0)


def test_or_the_embedding_of_its_text():
    tasks, marks = marks_of("task_input=text", "encoder={name: random, dim: 16}")
    texts = [task.text for task in tasks]
    assert torch.equal(marks, RandomEncoder(dim=16).prepare(texts)(texts))


def test_in_a_lesson_the_recipe_has_the_word():
    stream = "stream={name: point, goals: [right, left, top, bottom], together: 2}"
    tasks = make_tasks(tiny(stream, "task_input=number"))
    assert [task.mark for task in tasks] == [one_hot(i, 4) for i in range(4)]
    assert [task.mark for task in make_tasks(tiny(stream))] == 2 * [(1.0, 0.0), (0.0, 1.0)]


@pytest.mark.parametrize("told", ["number", "text"])
def test_what_is_told_of_the_task_reaches_policies_and_critics(told, tmp_path):
    out = tmp_path / "run"
    run(tiny(f"task_input={told}"), out, progress=False)
    opened = cotasp.open_run(out)
    length = {"number": 2, "text": 16}[told]
    assert opened.policy(task="left").module.policy.func.body.layers[0].in_features == 4 + length
    assert opened.evaluate(task="left").score() is not None


def test_no_task_is_added_where_tasks_are_numbered():
    with pytest.raises(RecipeError, match=r"^adapt: this run's policy observes the number"):
        longer(tiny("task_input=number"), 2, "top", None, 100)


@pytest.mark.parametrize("told", ["none", "number", "text"])
def test_episodes_are_logged_under_the_task_whose_turn_it_was(told, tmp_path):
    stream = "stream={name: point, goals: [right, left, top, bottom], horizon: 10, together: 2}"
    wide = "actor.hidden=[96, 96]", "encoder={name: random, dim: 32}"
    run(tiny(stream, f"task_input={told}", *wide), tmp_path / "run", progress=False)
    rows = (tmp_path / "run" / "episodes.csv").read_text().splitlines()[1:]
    turns = [row.split(",")[0] for row in rows]
    assert turns == 10 * ["right", "left"] + 10 * ["top", "bottom"]


class Moved(gymnasium.Env):
    """A point that an action moves."""

    observation_space = Box(-9.0, 9.0, (2,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.place = 0, self.np_random.normal(size=2)
        return self.place.astype(np.float32), {}

    def step(self, action):
        self.place = np.clip(self.place + action[0], -9, 9)
        return self.place.astype(np.float32), 0.0, False, False, {"success": False}


class Unstable(Moved):
    """Its solver diverges at the fourth step of every episode."""

    def step(self, action):
        self.steps += 1
        if self.steps == 4:
            raise ArithmeticError("diverged")
        return super().step(action)


def test_a_lesson_goes_on_after_a_fault_of_the_part_that_waits():
    gymnasium.register("cotasp/Unstable-v0", Unstable, max_episode_steps=6)
    gymnasium.register("cotasp/Stable-v0", Moved, max_episode_steps=6)
    try:
        entries = [GymEntry("cotasp/Unstable-v0", "a"), GymEntry("cotasp/Stable-v0", "b")]
        tasks = Gymnasium(tuple(entries), together=2).make_tasks()
        act = TensorDictModule(lambda x: torch.tanh(x[..., :1]), ["observation"], ["action"])
        through, resumed = (
            Collection(make_lesson(tasks, seed=3), act, "lesson", 1, "skip") for _ in range(2)
        )
        through.collect(6)  # the fault, and into the other part's episode
        assert through.faults == 1
        resumed.load_state_dict(through.state_dict())
        ends = [collection.collect(8)["observation"] for collection in (through, resumed)]
        assert torch.equal(*ends)
    finally:
        for name in ("Unstable", "Stable"):
            del gymnasium.registry[f"cotasp/{name}-v0"]


def test_what_is_told_at_a_lessons_end_stands_at_its_last_step(finished):
    *_, out = finished
    rows = [row.split(",") for row in (out / "metrics.csv").read_text().splitlines()]
    at = {(row[1], int(row[0])) for row in rows if row[2] == "facts/updates"}
    assert at == {("right", 200), ("top", 400)}
