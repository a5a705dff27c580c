"""The toy: its dynamics written out again, and what makes it a continual-learning problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from cotasp.tasks import Point, PointEnv

GOALS = ("right", "left", "top", "bottom", "upper-right", "lower-left", "upper-left", "lower-right")


def towards(goal):
    return lambda td: td.set("action", (6 * (goal - td["observation"][..., :2])).clamp(-1, 1))


@pytest.mark.parametrize("num_envs", [None, 1, 3])
def test_specs_hold(num_envs):
    check_env_specs(PointEnv((0.8, 0.0), num_envs=num_envs))


def test_the_dynamics_are_those_of_the_docstring():
    data = PointEnv((0.8, -0.8), num_envs=5, seed=2).rollout(30)
    position, velocity = data["observation"][:, 0].numpy().reshape(5, 2, 2).transpose(1, 0, 2)
    assert (np.abs(position) <= 0.5).all()
    assert (velocity == 0).all()
    for t in range(30):
        velocity = velocity / 2 + 0.075 * data["action"][:, t].numpy()
        position = np.clip(position + velocity, -1, 1)
        distance = np.linalg.norm(position - [0.8, -0.8], axis=-1, keepdims=True)
        after = data["next"][:, t]
        expected = np.concatenate([position, velocity / 0.15], -1)
        np.testing.assert_allclose(after["observation"], expected, atol=1e-5)
        np.testing.assert_allclose(after["reward"], 1 - distance, atol=1e-5)
        np.testing.assert_array_equal(after["success"], distance < 0.2)


def test_episodes_are_truncated_and_restart_elsewhere():
    data = PointEnv((0.0, 0.8), horizon=4, num_envs=3, seed=0).rollout(
        12, break_when_any_done=False
    )
    ends = torch.arange(12) % 4 == 3
    assert torch.equal(data["next", "truncated"].squeeze(-1), ends.expand(3, 12))
    assert torch.equal(data["next", "done"], data["next", "truncated"])
    assert not data["next", "terminated"].any()
    assert not data["success"][:, ::4].any()
    starts = data["observation"][:, ::4].flatten(0, 1)
    assert len(starts.unique(dim=0)) == 9
    assert (starts[:, 2:] == 0).all()


def test_a_partial_reset_leaves_the_others_where_they_are():
    env = PointEnv((0.8, 0.0), num_envs=2, seed=0)
    now = env.rollout(5)["next"][:, -1].exclude("reward")
    before = now["observation"].clone()
    after = env.reset(now.set("_reset", torch.tensor([[True], [False]])))["observation"]
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[0], before[0])
    stepped = env.step(after_action(after))
    expected = before[1, :2] + before[1, 2:] * 0.15 / 2  # no action: half the velocity is kept
    torch.testing.assert_close(stepped["next", "observation"][1, :2], expected.clamp(-1, 1))


def test_a_partial_step_moves_and_counts_those_alone_that_step():
    env, whole = (PointEnv((0.8, 0.0), horizon=4, num_envs=2, seed=0) for _ in range(2))
    env.reset(), whole.reset()
    step = TensorDict({"action": torch.ones(2, 2)}, [2])
    env.step(step.clone()), whole.step(step.clone())
    stood = env.state_dict()["_extra_state"]
    step["_step"] = torch.tensor([[True], [False]])
    for _ in range(3):
        partial = env._step(step)
        expected = whole._step(step.exclude("_step"))
        for key in ("observation", "reward", "success", "truncated"):
            assert torch.equal(partial[key][0], expected[key][0])
        assert not partial["reward"][1].any()
    after = env.state_dict()["_extra_state"]
    for key in ("position", "velocity", "steps"):
        assert torch.equal(after[key][1], stood[key][1])
    assert partial["truncated"].flatten().tolist() == [True, False]


def after_action(observation):
    return TensorDict({"observation": observation, "action": torch.zeros(2, 2)}, [2])


def test_seeds_and_states_reproduce_even_in_the_middle_of_an_episode():
    env, other = PointEnv((0.8, 0.0), seed=3, num_envs=2), PointEnv((0.8, 0.0), num_envs=2)
    policy = towards(torch.tensor([0.8, 0.0]))
    first = env.rollout(10, policy)
    other.set_seed(3)
    assert torch.equal(other.rollout(10, policy)["observation"], first["observation"])
    state = env.state_dict()
    other.rollout(3)
    other.load_state_dict(state)
    last = first["next"][:, -1].exclude("reward")
    rest = [
        e.rollout(60, policy, auto_reset=False, tensordict=last.clone(), break_when_any_done=False)
        for e in (env, other)
    ]
    assert (rest[0] == rest[1]).all()
    assert rest[0]["next", "done"].sum() == 4
    with pytest.raises(ValueError, match=r"state of batch size \[2\] for an environment of \[\]"):
        PointEnv((0.8, 0.0)).load_state_dict(state)


def test_equal_seeds_leave_torchs_own_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    PointEnv((0.8, 0.0), seed=1).reset()
    assert torch.equal(torch.rand(3), expected)


def test_every_goal_can_be_reached_but_no_policy_serves_two():
    tasks = Point(goals=GOALS).make_tasks()
    assert len({task.text for task in tasks}) == len(GOALS)
    goals = [task.make_env()._goal for task in tasks]
    for task, own in zip(tasks, goals):
        for goal in goals:
            data = task.make_env(num_envs=16, seed=0).rollout(30, towards(goal))
            reached = data["next", "success"][:, -1]
            assert reached.all() if torch.equal(goal, own) else not reached.any()
