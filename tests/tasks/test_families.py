"""Families of tasks: their parameters, and rewards against Gymnasium's own robots."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from cotasp.errors import RecipeError
from cotasp.tasks import (
    AntDirection,
    AntGoal,
    CheetahDirection,
    CheetahVelocity,
    PointGoals,
)

STREAMS = {
    "velocity": CheetahVelocity(count=2, horizon=8),
    "cheetah direction": CheetahDirection(horizon=8),
    "goal": AntGoal(count=2, horizon=8),
    "direction": AntDirection(count=2, horizon=8),
}
FORMULAS = {  # of the second task: its parameter, Gymnasium's facts, action, contact forces
    "velocity": lambda p, i, a, c: -abs(i["x_velocity"] - p) - 0.05 * (a**2).sum(),
    "cheetah direction": lambda p, i, a, c: -i["x_velocity"] - 0.05 * (a**2).sum(),
    "goal": lambda p, i, a, c: (
        4.05
        - abs(i["x_position"] - 2 * np.cos(p))
        - abs(i["y_position"] - 2 * np.sin(p))
        - 0.005 * (a**2).sum()
        - 0.0005 * (c**2).sum()
    ),
    "direction": lambda p, i, a, c: (
        i["x_velocity"] * np.cos(p)
        + i["y_velocity"] * np.sin(p)
        - 0.5 * (a**2).sum()
        - 0.0005 * (c**2).sum()
        + 1
    ),
}


def parameter(name: str) -> float:
    """Of the second task, read from its name."""
    written = STREAMS[name].make_tasks()[1].name.split("-", 1)[-1]
    if name == "cheetah direction":
        return -1.0
    return float(written) if name == "velocity" else np.radians(float(written))


def in_turn(actions):
    left = iter(actions)
    return lambda td: td.set("action", next(left))


@pytest.mark.parametrize("name", STREAMS)
def test_specs_hold_and_an_episode_is_restored_in_its_middle(name):
    task = STREAMS[name].make_tasks()[1]
    env, other = task.make_env(seed=3), task.make_env(seed=4)
    check_env_specs(env)
    check_env_specs(task.make_env(num_envs=2))
    env.set_seed(3)
    before = env.rollout(3)
    other.load_state_dict(env.state_dict())
    generator = torch.Generator().manual_seed(0)
    actions = 2 * torch.rand(9, *env.action_spec.shape, generator=generator) - 1
    rest = []
    for each in (env, other):
        rest.append(
            each.rollout(
                9,
                in_turn(actions),
                auto_reset=False,
                tensordict=before["next"][-1].exclude("reward"),
                break_when_any_done=False,
            )
        )
    assert (rest[0] == rest[1]).all()
    assert rest[0]["next", "truncated"].squeeze(-1).nonzero()[0] == 4


@pytest.mark.parametrize("name", STREAMS)
def test_rewards_are_the_familys(name):
    robot = "HalfCheetah-v5" if name in ("velocity", "cheetah direction") else "Ant-v5"
    raw = gymnasium.make(robot)
    if name == "goal":
        raw.unwrapped.model.actuator_gear[:, 0] = 30
    data = STREAMS[name].make_tasks()[1].make_env(seed=5).rollout(8)
    raw.reset(seed=int(np.random.SeedSequence(5).generate_state(1)[0]))
    for step in data:
        action = step["action"].numpy()
        _, _, _, _, info = raw.step(action)
        contact = np.clip(raw.unwrapped.data.cfrc_ext, -1, 1)
        expected = FORMULAS[name](parameter(name), info, action, contact)
        assert step["next", "reward"].item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_sweep_goes_from_end_to_end_and_round_the_circle_without_its_beginning():
    def names(stream):
        return [task.name for task in stream.make_tasks()]

    assert names(PointGoals(count=4, order="sweep")) == [
        "goal-0",
        "goal-90",
        "goal-180",
        "goal-270",
    ]
    assert names(AntGoal(count=3, order="sweep")) == ["goal-0", "goal-45", "goal-90"]
    velocities = names(CheetahVelocity(count=3, low=1, high=2, order="sweep"))
    assert velocities == ["velocity-1", "velocity-1.5", "velocity-2"]
    assert names(CheetahDirection(count=3)) == ["forward", "backward", "forward#2"]


def test_random_goals_lie_on_the_arc_and_depend_on_the_streams_seed():
    goals = [task.make_env()._goal for task in PointGoals(count=40, arc=90).make_tasks()]
    assert torch.allclose(torch.stack(goals).norm(dim=-1), torch.tensor(0.8))
    assert (torch.stack(goals) >= 0).all()
    one, other = PointGoals(seed=1), PointGoals(seed=2)
    assert one.make_tasks() == PointGoals(seed=1).make_tasks()
    assert one.protocol() != other.protocol()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointGoals(count=0), r"PointGoals\.count: expected 1 to 10000 tasks, got 0"),
        (lambda: PointGoals(arc=400), r"PointGoals\.arc: expected above 0 and at most 360"),
        (lambda: PointGoals(radius=2), r"PointGoals\.radius: expected in \(0, 1\], got 2"),
        (lambda: AntGoal(gear=0), r"AntGoal\.gear: expected above 0"),
        (lambda: CheetahVelocity(low=2, high=1), r"CheetahVelocity\.high: expected above low"),
        (lambda: AntDirection(seed=-1), r"AntDirection\.seed: expected in \[0, 2\^31\)"),
        (lambda: CheetahDirection(horizon=0), r"CheetahDirection\.horizon: expected at least 1"),
    ],
)
def test_a_family_that_cannot_run_is_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()


@pytest.mark.parametrize("stream", [*STREAMS.values(), PointGoals(count=3)], ids=str)
def test_each_task_can_be_taken_alone(stream):
    tasks = stream.make_tasks()
    for i, task in enumerate(tasks):
        alone = stream.alone(i)
        (taken,) = alone.make_tasks()
        assert (taken.env, taken.text, taken.build.args) == (task.env, task.text, task.build.args)
        assert alone.protocol()["tasks"] == task.env
        assert alone.alone(0) == alone
    with pytest.raises(RecipeError, match=rf"\.only: expected 0 to {len(tasks) - 1}, of "):
        stream.alone(len(tasks))
