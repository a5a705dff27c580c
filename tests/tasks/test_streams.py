"""Streams: order, names, texts, protocol, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from cotasp.continual.protocol import protocol_stamp, unlike
from cotasp.errors import RecipeError
from cotasp.recipe import loads
from cotasp.registry import KINDS
from cotasp.schema import build, plain
from cotasp.tasks import CW10, CW20, TEXTS, GymEntry, Gymnasium, MetaWorld, Point, TaskEntry
from cotasp.tasks.streams import Stream

PENDULUM = {"env": "Pendulum-v1", "text": "Swing the pole up."}
FIELDS = {  # what a stream needs that has no default
    "metaworld": {"tasks": ["reach-v3", {"env": "push-v3", "text": "Shove it."}, "reach-v3"]},
    "gymnasium": {"tasks": [PENDULUM, {**PENDULUM, "text": "Stand up."}]},
    "point": {"goals": ["left", "top", "left"]},
}
STREAMS = {
    name: build(Stream, {"name": name, **FIELDS.get(name, {})}, "recipe.stream")
    for name in KINDS["stream"].names()
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_its_recipe(name):
    stream = STREAMS[name]
    assert stream.protocol()["stream"] == name
    assert hash(stream) == hash(build(Stream, plain(stream, Stream), "again"))
    assert stream == build(Stream, plain(stream, Stream), "again")


@pytest.mark.parametrize("name", STREAMS)
def test_every_stream_builds_environments_of_one_shape(name):
    tasks = STREAMS[name].make_tasks()
    envs = [task.make_env(num_envs=n, seed=1) for task, n in zip(tasks, (None, 2))]
    assert envs[0].batch_size == ()
    assert envs[1].batch_size == (2,)
    assert (
        envs[0].observation_spec["observation"].shape[-1:]
        == (envs[1].observation_spec["observation"].shape[-1:])
    )
    assert envs[0].action_spec.shape[-1:] == envs[1].action_spec.shape[-1:]
    for env in envs:
        env.close()


def test_cw10_is_continual_worlds_sequence():
    assert [(task.name, task.text) for task in CW10().make_tasks()] == [
        ("hammer-v3", "Hammer a screw on the wall."),
        ("push-wall-v3", "Bypass a wall and push a puck to a goal."),
        ("faucet-close-v3", "Rotate the faucet clockwise."),
        ("push-back-v3", "Pull a puck to a goal."),
        ("stick-pull-v3", "Grasp a stick and pull a box with the stick."),
        ("handle-press-side-v3", "Press a handle down sideways."),
        ("push-v3", "Push the puck to a goal."),
        ("shelf-place-v3", "Pick and place a puck onto a shelf."),
        ("window-close-v3", "Push and close a window."),
        ("peg-unplug-side-v3", "Unplug a peg sideways."),
    ]


def test_cw20_visits_the_ten_tasks_twice_under_new_names():
    once, twice = CW10().make_tasks(), CW20().make_tasks()
    assert twice[:10] == once
    assert [task.name for task in twice[10:]] == [f"{task.name}#2" for task in once]
    assert [task.env for task in twice[10:]] == [task.env for task in once]
    assert [task.text for task in twice[10:]] == [task.text for task in once]


def test_further_visits_are_counted():
    names = [task.name for task in STREAMS["metaworld"].make_tasks()]
    assert names == ["reach-v3", "push-v3", "reach-v3#2"]
    assert [task.name for task in Point(goals=("top",) * 3).make_tasks()] == [
        "top",
        "top#2",
        "top#3",
    ]


def test_a_text_of_ones_own_replaces_the_shipped_one():
    tasks = STREAMS["metaworld"].make_tasks()
    assert [task.text for task in tasks] == [TEXTS["reach-v3"], "Shove it.", TEXTS["reach-v3"]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CW10(), CW10(horizon=500)),
        (CW10(), CW10(reward_version="v1")),
        (CW10(), CW10(action_repeat=2)),
        (CW10(), CW20()),
        (MetaWorld(["push-v3"]), MetaWorld([TaskEntry("push-v3", "Shove it.")])),
        (MetaWorld(["push-v3", "reach-v3"]), MetaWorld(["reach-v3", "push-v3"])),
        (Point(), Point(horizon=20)),
        (Point(), Point(action_repeat=2)),
        (Point(), Point(goals=("right", "left"))),
        (Gymnasium([PENDULUM]), Gymnasium([PENDULUM], horizon=100)),
        (Gymnasium([PENDULUM]), Gymnasium([{**PENDULUM, "success_return": -200.0}])),
    ],
)
def test_the_protocol_tells_apart_what_cannot_be_compared(one, other):
    assert one.protocol() != other.protocol()


def test_the_horizon_given_to_gymnasium_is_its_own_limit():
    assert Gymnasium([PENDULUM]).protocol() == Gymnasium([PENDULUM], horizon=200).protocol()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MetaWorld(["reach-v3", "hamer-v3"]),
            r"MetaWorld\.tasks\[1\]\.env: .*'hamer-v3'\. Did you mean 'hammer-v3'\?",
        ),
        (lambda: MetaWorld([TaskEntry("push-v3", " ")]), r"MetaWorld\.tasks\[0\]\.text: "),
        (lambda: MetaWorld([]), r"MetaWorld\.tasks: expected at least one task"),
        (lambda: MetaWorld("push-v3"), r"MetaWorld\.tasks: expected a list, got 'push-v3'"),
        (lambda: MetaWorld([{"evn": "push-v3"}]), r"tasks\[0\]: unknown key 'evn'\. Did you mean"),
        (lambda: Gymnasium([{"env": "Pendulum-v1"}]), r"tasks\[0\]: missing key 'text'"),
        (lambda: MetaWorld([3]), r"MetaWorld\.tasks\[0\]: expected a TaskEntry, got 3"),
        (lambda: CW10(horizon=0), r"CW10\.horizon: expected at least 1 step, got 0"),
        (lambda: CW20(reward_version="v3"), r"CW20\.reward_version: expected v1 or v2, got 'v3'"),
        (lambda: Gymnasium([GymEntry("Pendulum-v1", "")]), r"Gymnasium\.tasks\[0\]\.text: "),
        (
            lambda: Gymnasium([PENDULUM, {**PENDULUM, "success_return": -1.0}]),
            r"Gymnasium\.tasks\[1\]\.success_return: expected None as in the first visit",
        ),
        (lambda: Gymnasium([PENDULUM], horizon=-1), r"Gymnasium\.horizon: "),
        (lambda: Point(goals=()), r"Point\.goals: expected at least one goal"),
        (lambda: Point(goals=("lfet",)), r"Point\.goals\[0\]: .* Did you mean 'left'\?"),
        (lambda: Point(horizon=0), r"Point\.horizon: "),
    ],
)
def test_a_stream_that_cannot_run_is_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, f.name) for name in STREAMS for f in dataclasses.fields(STREAMS[name])],
)
def test_a_value_of_another_type_is_refused_from_python_too(name, field):
    with pytest.raises(RecipeError, match=rf"{type(STREAMS[name]).__name__}\.{field}: expected "):
        dataclasses.replace(STREAMS[name], **{field: object()})


@pytest.mark.parametrize(
    ("envs", "message"),
    [
        (["CartPole-v1"], r"tasks\[0\]\.env: .*'CartPole-v1': expected a flat Box of actions"),
        (["Pendulum-v1", "Pendulm-v1"], r"tasks\[1\]\.env: .*Did you mean: `Pendulum`\?"),
        (
            ["Pendulum-v1", "MountainCarContinuous-v0"],
            r"tasks\[1\]\.env: expected 3 observations and 1 actions as in Pendulum-v1, got 2 and",
        ),
    ],
)
def test_gymnasium_tasks_that_do_not_fit_are_refused_before_training(envs, message):
    stream = Gymnasium([GymEntry(env, "Do it.") for env in envs])
    with pytest.raises(RecipeError, match=message):
        stream.make_tasks()


def test_recipes_need_their_list_of_tasks():
    with pytest.raises(RecipeError, match=r"recipe\.stream: missing key 'tasks'"):
        build(Stream, "metaworld", "recipe.stream")
    with pytest.raises(RecipeError, match="missing key 'text'"):
        build(Stream, {"name": "gymnasium", "tasks": [{"env": "Pendulum-v1"}]}, "recipe.stream")


def test_listing_streams_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from cotasp.tasks import CW20, AntGoal, CheetahVelocity, MetaWorld, Point, PointGoals\n"
        "light = (CW20(), MetaWorld(['reach-v3']), Point(), PointGoals())\n"
        "for s in (*light, AntGoal(), CheetahVelocity()):\n"
        "    s.make_tasks(), s.protocol()\n"
        "heavy = {'torch', 'torchrl', 'numpy', 'metaworld', 'mujoco', 'gymnasium'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_task_alone_is_a_baseline_though_tasks_differ_in_what_they_count():
    tasks = [
        {**PENDULUM, "success_return": -200.0},
        {"env": "MountainCarContinuous-v0", "text": "Climb.", "success_return": 80.0},
    ]
    stamps = [{**Gymnasium(some).protocol(), "steps_per_task": 9} for some in (tasks, tasks[1:])]
    both, alone = stamps
    assert unlike(alone, both) is None
    assert unlike({**alone, "success_return": "-200.0"}, both) == "success_return"
    ranges = {**both, "return_range": "(0.0, 5.0), (-400.0, 0.0)"}
    assert unlike({**alone, "return_range": "(-1600.0, 0.0)"}, ranges) == "return_range"
    assert unlike({**alone, "return_range": "(-400.0, 0.0)"}, ranges) is None
    assert unlike({**alone, "steps_per_task": 8}, both) == "steps_per_task"


@pytest.mark.parametrize(
    ("stream", "key", "value"),
    [("point_goals", "radius", 0.4), ("ant_goal", "radius", 1.0), ("ant_goal", "gear", 150)],
)
def test_a_single_task_of_another_kind_is_no_baseline(stream, key, value):
    def stamp(**fields):
        recipe = loads(f"stream: {json.dumps({'name': stream, **fields})}\nsteps_per_task: 2000")
        return protocol_stamp(recipe)

    assert unlike(stamp(only=0), stamp()) is None
    assert unlike(stamp(**{"only": 0, key: value}), stamp()) == key
