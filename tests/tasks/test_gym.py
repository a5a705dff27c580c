"""Gymnasium environments, against Gymnasium itself."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torchrl.envs.utils import check_env_specs

from cotasp.errors import RecipeError
from cotasp.tasks import GymEntry, Gymnasium, GymnasiumEnv


class Custom(gymnasium.Env):
    """Square observations, asymmetric actions, and success of its own."""

    def __init__(self, action_space=None, observation_space=None):
        self.observation_space = observation_space or Box(-9.0, 9.0, (2, 2), np.float64)
        self.action_space = action_space or Box(
            np.array([0.0, -4.0]), np.array([1.0, 8.0]), dtype=np.float64
        )

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((2, 2)), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return np.full((2, 2), action.sum()), 0.0, False, False, {"success": action[1] > 7.0}


@pytest.fixture
def register():
    """Registers `Custom` for the length of a test."""
    made = []

    def add(name, limit=10, **spaces):
        gymnasium.register(name, lambda **_: Custom(**spaces), max_episode_steps=limit)
        made.append(name)
        return name

    yield add
    for name in made:
        del gymnasium.registry[name]


@pytest.mark.parametrize("num_envs", [None, 2])
@pytest.mark.parametrize("env", ["Pendulum-v1", "MountainCarContinuous-v0"])
def test_specs_hold(env, num_envs):
    check_env_specs(GymnasiumEnv(env, num_envs=num_envs))


def test_steps_are_gymnasiums_with_actions_rescaled():
    data = GymnasiumEnv("Pendulum-v1", seed=4, scored_by_return=True).rollout(300)
    raw = gymnasium.make("Pendulum-v1")
    seed = int(np.random.SeedSequence(4).generate_state(1)[0])
    observation, _ = raw.reset(seed=seed)
    assert len(data) == 200
    for step in data:
        np.testing.assert_array_equal(step["observation"], observation)
        observation, reward, terminated, truncated, _ = raw.step(2.0 * step["action"].numpy())
        np.testing.assert_allclose(step["next", "observation"], observation, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(step["next", "reward"].item(), reward, rtol=1e-5)
        assert step["next", "truncated"].item() == truncated
        assert step["next", "terminated"].item() == terminated
        observation = step["next", "observation"].numpy()


def test_seeding_and_restoring_at_an_episode_end():
    env = GymnasiumEnv("Pendulum-v1", horizon=5, num_envs=2, seed=1, scored_by_return=True)

    def starts():
        idle = lambda td: td.set("action", torch.zeros(2, 1))  # noqa: E731
        return env.rollout(15, idle, break_when_any_done=False)["observation"][:, ::5]

    untouched = env.state_dict()
    first = starts()
    assert len(first.flatten(0, 1).unique(dim=0)) == 6
    state = env.state_dict()
    second = starts()
    env.load_state_dict(state)
    assert torch.equal(starts(), second)
    env.load_state_dict(untouched)
    assert torch.equal(starts(), first)
    env.set_seed(1)
    assert torch.equal(starts(), first)


def test_reaching_a_goal_terminates_and_a_time_limit_truncates():
    def climb(tensordict):  # push the way the car already moves
        way = torch.where(tensordict["observation"][1:] >= 0, 1.0, -1.0)
        return tensordict.set("action", way)

    after = GymnasiumEnv("MountainCarContinuous-v0", success_return=80.0).rollout(999, climb)[
        "next"
    ]
    assert after["terminated"][-1]
    assert not after["truncated"].any()
    assert after["success"][-1]
    assert not after["success"][:-1].any()
    idle = GymnasiumEnv("MountainCarContinuous-v0", horizon=7, success_return=0.0).rollout(
        999, lambda td: td.set("action", torch.zeros(1))
    )["next"]
    assert len(idle) == 7
    assert idle["truncated"][-1]
    assert not idle["terminated"].any()


def test_success_is_a_return_that_is_reached_and_counted_anew_each_episode():
    env = GymnasiumEnv("Pendulum-v1", horizon=4, success_return=-1e-9, seed=0)
    assert not env.rollout(8, break_when_any_done=False)["next", "success"].any()
    env = GymnasiumEnv("Pendulum-v1", horizon=4, success_return=-20.0, seed=0)
    data = env.rollout(40, break_when_any_done=False)["next"]
    returns = data["reward"].view(10, 4).cumsum(1)
    success = data["success"].view(10, 4)
    assert torch.equal(success[:, 3], returns[:, 3] >= -20.0)  # judged at an episode's end
    assert not success[:, :3].any()
    assert 0 < success.sum() < 10
    never = GymnasiumEnv("Pendulum-v1", horizon=4, seed=0)
    with pytest.warns(UserWarning, match=r"reports no success: .* success_return, or a return_ran"):
        assert not never.rollout(8, break_when_any_done=False)["next", "success"].any()


def test_an_environment_that_reports_success_is_believed(register):
    env = GymnasiumEnv(register("CotaspCustom-v0"), success_return=-1.0)
    check_env_specs(env)
    actions = iter(torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [-3.0, 9.0]]))
    data = env.rollout(4, lambda td: td.set("action", next(actions)))["next"]
    assert data["success"].squeeze(-1).tolist() == [False, True, False, True]
    assert data["observation"].tolist() == [[x] * 4 for x in (-4.0, 9.0, 2.5, 8.0)]


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"action_space": Discrete(3)}, r"flat Box of actions, got Discrete\(3\); only"),
        ({"action_space": Box(-1, 1, (2, 2))}, "flat Box of actions"),
        ({"action_space": Box(-np.inf, np.inf, (2,))}, "finite bounds, .* RescaleAction"),
        ({"observation_space": Discrete(3)}, "Box of observations, .* FlattenObservation"),
        ({"limit": None}, "no time limit of its own; give the stream a horizon"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(register, spaces, message):
    name = register("CotaspRefused-v0", **spaces)
    with pytest.raises(RecipeError, match=f"'{name}': .*{message}"):
        GymnasiumEnv(name)


def test_a_horizon_serves_where_there_is_no_limit(register):
    assert len(GymnasiumEnv(register("CotaspEndless-v0", limit=None), horizon=6).rollout(99)) == 6


@pytest.mark.parametrize("env", ["Pendulm-v1", "nobody/Pendulum-v1", "Pendulum-v9"])
def test_an_unknown_environment_is_refused(env):
    with pytest.raises(RecipeError, match=f"'{env}': "):
        GymnasiumEnv(env)


def test_a_known_environment_is_followed_as_it_is_scored():
    known = Gymnasium((GymEntry("Pendulum-v1", "Swing up.", return_range=(-200.0, 0.0)),))
    after = known.followed_by(1, "Pendulum-v1", "Swing the pole.")
    assert after.tasks[1] == GymEntry("Pendulum-v1", "Swing the pole.", None, (-200.0, 0.0))
    assert len(after.make_tasks()) == 2


def test_a_new_environment_is_judged_as_is_asked_where_every_task_says_how():
    known = Gymnasium((GymEntry("Pendulum-v1", "Swing up.", return_range=(-200.0, 0.0)),))
    new = "MountainCarContinuous-v0", "Drive up."
    with pytest.raises(RecipeError, match=f"success_return or return_range for {new[0]}, as every"):
        known.followed_by(1, *new)
    after = known.followed_by(1, *new, success_return=90.0)
    assert after.tasks[1] == GymEntry(*new, 90.0)
    after = known.followed_by(0, *new, return_range=(0.0, 100.0))
    assert after.tasks == (GymEntry(*new, None, (0.0, 100.0)),)
    reporting = Gymnasium((GymEntry("Pendulum-v1", "Swing up."),))
    assert reporting.followed_by(1, *new).tasks[1] == GymEntry(*new)
    with pytest.raises(
        RecipeError, match=r"return_range: expected \(-200.0, 0.0\) as in the first"
    ):
        known.followed_by(1, "Pendulum-v1", "Swing.", return_range=(-100.0, 0.0))


class ArrayOfOne(Custom):
    """Gives its reward as an array."""

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, np.array([reward]), *rest


def test_a_reward_may_be_an_array_of_one_number():
    gymnasium.register("cotasp/ArrayOfOne-v0", ArrayOfOne, max_episode_steps=3)
    try:
        data = GymnasiumEnv("cotasp/ArrayOfOne-v0").rollout(3)
    finally:
        del gymnasium.registry["cotasp/ArrayOfOne-v0"]
    assert data["next", "reward"].shape == (3, 1)
