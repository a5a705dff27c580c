"""Gymnasium environments, against Gymnasium itself."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torchrl.envs.utils import check_env_specs

from cotasp.errors import RecipeError, RunError
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
        ({"action_space": Box(-np.inf, np.inf, (2,))}, "with bounds of at most"),
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


# -- what a stop and a resume must bring back ----------------------------------------------


class Hidden(gymnasium.Env):
    """A goal that only rewards tell, drawn at each reset; observations are all alike."""

    observation_space = Box(-9.0, 9.0, (2,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.prepare(seed)
        self.goal = self.draw()
        return np.zeros(2, np.float32), {}

    def prepare(self, seed): ...

    def step(self, action):
        return np.zeros(2, np.float32), float(self.goal), False, False, {"success": False}


class InAnObject(Hidden):
    """In an object in a dict in a list, which holds a reference to the environment."""

    def prepare(self, seed):
        sampler = type("Sampler", (), {})()
        sampler.owner, sampler.rng = self, np.random.default_rng(seed)
        self.samplers = [{"goal": sampler}]

    def draw(self):
        return self.samplers[0]["goal"].rng.uniform()


class OfTorch(Hidden):
    def prepare(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self):
        return torch.rand((), generator=self.generator)


class OfTorchGlobally(Hidden):
    def draw(self):
        return torch.rand(())


class OfItsSpace(Hidden):
    def prepare(self, seed):
        self.action_space.seed(seed)

    def draw(self):
        return self.action_space.sample()[0]


class OfItsClassSpace(OfItsSpace):
    """As its observations, which all copies share."""

    def prepare(self, seed):
        self.observation_space.seed(seed)

    def draw(self):
        return self.observation_space.sample()[0]


class Plain(Hidden):
    def draw(self):
        return self.np_random.uniform()


class Wrapped(gymnasium.Wrapper):
    """Draws a goal of its own."""

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.RandomState(seed)
        answer = self.env.reset(seed=seed, options=options)
        self.env.unwrapped.goal = self.rng.uniform()
        return answer


class Counting(Hidden):
    """Rewards the number of the episode, which no random state tells."""

    count = 0

    def draw(self):
        self.count += 1
        return self.count


def in_wrapper(**settings):
    return Wrapped(Plain(**settings))


@pytest.fixture
def hidden():
    """Registers what makes an environment, under one name."""
    yield lambda made: gymnasium.register("cotasp/Hidden-v0", made, max_episode_steps=5)
    del gymnasium.registry["cotasp/Hidden-v0"]


def rewards(env, steps, now=None):
    """Rewards of idle steps, and where the last one leads."""
    now, found = env.reset() if now is None else now, []
    for _ in range(steps):
        frame, now = env.step_and_maybe_reset(now.set("action", torch.zeros(env.action_spec.shape)))
        found.append(frame["next", "reward"])
    return torch.stack(found), now


@pytest.mark.parametrize("steps", [3, 17, 20])  # in the first and fourth episode, at a beginning
@pytest.mark.parametrize("num_envs", [None, 2])
@pytest.mark.parametrize(
    "made",
    [Plain, InAnObject, OfTorch, OfTorchGlobally, OfItsSpace, OfItsClassSpace, in_wrapper],
)
def test_generators_are_brought_back_wherever_they_are(hidden, made, num_envs, steps):
    hidden(made)
    env = GymnasiumEnv("cotasp/Hidden-v0", num_envs=num_envs, seed=3)
    _, now = rewards(env, steps)
    state, at = env.state_dict(), now.clone()
    expected, _ = rewards(env, 12, now)
    other = GymnasiumEnv("cotasp/Hidden-v0", num_envs=num_envs)
    other.load_state_dict(state)
    assert torch.equal(rewards(other, 12, at)[0], expected)
    assert len(expected.unique()) > 2


@pytest.mark.parametrize("steps", [17, 20])
def test_what_cannot_be_brought_back_is_found_by_its_rewards(hidden, steps):
    """Also where the state was taken between two episodes: then by the one before."""
    hidden(Counting)
    env = GymnasiumEnv("cotasp/Hidden-v0", seed=3)
    rewards(env, steps)
    with pytest.raises(RunError, match=r"an episode could not be repeated: .*, got other rewards"):
        GymnasiumEnv("cotasp/Hidden-v0").load_state_dict(env.state_dict())


def test_looking_an_environment_over_draws_nothing_from_its_spaces(hidden):
    space = Box(-1.0, 1.0, (2,))

    class Sharing(Plain):
        def __init__(self):
            self.action_space = space

    hidden(Sharing)
    space.seed(5)
    before = space.np_random.bit_generator.state
    Gymnasium((GymEntry("cotasp/Hidden-v0", "Go."),), horizon=4).make_tasks()
    assert space.np_random.bit_generator.state == before


def test_an_environment_with_statistics_goes_on_drawing_when_it_is_made_anew(hidden):
    class Drawing(Plain):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

        def render(self):
            return np.full((4, 6, 3), 7, np.uint8)

    hidden(lambda **settings: gymnasium.wrappers.NormalizeObservation(Drawing(**settings)))
    env = GymnasiumEnv("cotasp/Hidden-v0")
    env.begin_drawing(64)
    for seed in (1, 2):
        env.set_seed(seed)
        env.reset()
    assert env.simulators[0]._env.render_mode == "rgb_array"
    assert env.frame().shape == (4, 6, 3)


# -- actions and names ---------------------------------------------------------------------


ANY = Box(-np.inf, np.inf, (2,), np.float64)
FLOAT_MAX = np.finfo(np.float32).max


def bounded(env, most=1.0):
    """What the message on unbounded actions advises."""
    same = lambda action: action  # noqa: E731
    return gymnasium.wrappers.TransformAction(env, same, Box(-most, most, (2,), np.float64))


@pytest.mark.parametrize(
    ("made", "most"),
    [
        (lambda: bounded(Custom(ANY)), 1.0),
        (lambda: gymnasium.wrappers.ClipAction(Custom(Box(-3.0, 3.0, (2,), np.float64))), 3.0),
        (lambda: gymnasium.wrappers.ClipAction(bounded(Custom(ANY), 2.0)), 2.0),
        (lambda: bounded(gymnasium.wrappers.ClipAction(Custom(ANY)), 2.0), 2.0),
    ],
)
def test_actions_of_use_are_those_that_are_let_through(hidden, made, most):
    hidden(lambda **_: made())
    env = GymnasiumEnv("cotasp/Hidden-v0")
    assert env.action_range == ([-most] * 2, [most] * 2)
    step = env.step(env.reset().set("action", torch.tensor([1.0, 0.5])))["next"]
    assert step["observation"].tolist() == [1.5 * most] * 4


@pytest.mark.parametrize(
    "space", [ANY, Box(-FLOAT_MAX, FLOAT_MAX, (2,)), Box(-1.0, np.inf, (2,)), "clipped"]
)
def test_bounds_that_say_nothing_are_refused_with_what_helps(hidden, space):
    if space == "clipped":
        hidden(lambda **_: gymnasium.wrappers.ClipAction(Custom(ANY)))
    else:
        hidden(lambda **_: Custom(space))
    told = (
        r"bounds of at most 1e\+09, got Box\(.*\.TransformAction\(env, .*, Box\(-1.0, 1.0, \(2,\)"
    )
    with pytest.raises(RecipeError, match=told):
        GymnasiumEnv("cotasp/Hidden-v0")


@pytest.mark.parametrize(
    ("env", "packages", "end"),
    [
        (
            "nobody/Pendulum-v1",
            (),
            "nobody?; name the package that registers it in stream.packages",
        ),
        ("Nobodys-v1", (), "exist; name the package that registers it in stream.packages"),
        ("Nobodys-v1", ("gymnasium",), "exist; gymnasium must register it"),
        ("Pendulum-v9", (), "`v1` ]."),
        ("Pendulum v1", (), "(namespace is optional))"),
    ],
)
def test_a_package_is_asked_for_where_one_would_help(env, packages, end):
    with pytest.raises(RecipeError) as raised:
        GymnasiumEnv(env, packages=packages)
    assert str(raised.value).endswith(end)
    assert ".;" not in str(raised.value)
