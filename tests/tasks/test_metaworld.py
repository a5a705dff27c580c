"""Meta-World, against its own raw classes and scripted experts."""

from __future__ import annotations

import warnings

import mujoco
import numpy as np
import pytest
import torch
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from torchrl.collectors import Collector
from torchrl.envs.utils import RandomPolicy, check_env_specs

from cotasp.tasks import CW10, TEXTS, MetaWorldEnv
from cotasp.tasks.metaworld import MetaWorldSimulator
from cotasp.tasks.texts import CW10 as CW10_ENVS

GOAL = slice(-3, None)  # of an observation


def replay(actions):
    """A policy that plays actions [*, steps, n_act] in turn."""
    each = iter(actions.unbind(-2))
    return lambda tensordict: tensordict.set("action", next(each))


def expert(env):
    """Meta-World's scripted expert, for a single environment."""
    scripted = ENV_POLICY_MAP[env]()

    def act(tensordict):
        with warnings.catch_warnings():  # it says that actions beyond 1 will be clipped
            warnings.simplefilter("ignore", UserWarning)
            action = scripted.get_action(tensordict["observation"].double().numpy())
        return tensordict.set("action", torch.as_tensor(action).clamp(-1, 1).float())

    return act


def equal(one, other):
    return all(torch.equal(one[key], other[key]) for key in one.keys(True, True))


def test_every_meta_world_task_has_a_text_of_its_own():
    assert set(TEXTS) == set(ALL_V3_ENVIRONMENTS)
    assert len(set(TEXTS.values())) == len(TEXTS) == 50


@pytest.mark.parametrize("num_envs", [None, 1, 2])
@pytest.mark.parametrize("env", CW10_ENVS[:2])
def test_specs_hold(env, num_envs):
    made = MetaWorldEnv(env, num_envs=num_envs)
    check_env_specs(made)
    assert made.observation_spec["observation"].shape[-1] == 39
    assert made.action_spec.shape[-1] == 4


@pytest.mark.parametrize("reward_version", ["v1", "v2"])
@pytest.mark.parametrize("env", ["push-v3", "window-close-v3"])
def test_steps_are_those_of_the_raw_class_with_the_goal_visible(env, reward_version):
    data = MetaWorldEnv(env, 25, reward_version, seed=4).rollout(25)
    raw = ALL_V3_ENVIRONMENTS[env](reward_function_version=reward_version)
    raw._set_task_called, raw._partially_observable = True, False
    del raw.sawyer_observation_space
    raw.seeded_rand_vec, raw._freeze_rand_vec = True, False
    raw.seed(int(np.random.SeedSequence(4).generate_state(1)[0]))
    observation, _ = raw.reset()
    np.testing.assert_array_equal(data["observation"][0], observation.astype(np.float32))
    for step in data:
        observation, reward, _, _, _ = raw.step(step["action"].numpy())
        after = step["next"]
        np.testing.assert_array_equal(after["observation"], observation.astype(np.float32))
        assert after["reward"].item() == np.float32(reward)
        np.testing.assert_array_equal(after["observation"][GOAL], np.float32(raw._target_pos))
    assert data["observation"][:, GOAL].abs().sum() > 0


def test_models_are_copied_whole_and_moved_apart():
    """Against the model that Meta-World itself compiles, byte for byte."""

    def content(model):
        content = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
        mujoco.mj_saveModel(model, None, content)
        return content

    env = "door-unlock-v3"  # moves its body at each reset
    one, other = (MetaWorldSimulator(env, 200, "v2") for _ in range(2))
    compiled = ALL_V3_ENVIRONMENTS[env]().model
    for each in (one, other):
        assert np.array_equal(content(each.sim.model), content(compiled))
    one.seed(1)
    one.reset()
    assert not np.array_equal(content(one.sim.model), content(compiled))
    assert np.array_equal(content(other.sim.model), content(compiled))
    assert np.array_equal(content(MetaWorldSimulator(env, 200, "v2").sim.model), content(compiled))


def test_goals_are_fresh_at_every_reset_and_follow_from_the_seed():
    env = MetaWorldEnv("reach-v3", horizon=2, num_envs=2, seed=7)

    def goals():
        return env.rollout(6, break_when_any_done=False)["observation"][:, ::2, GOAL]

    first = goals()
    assert len(first.flatten(0, 1).unique(dim=0)) == 6
    assert not torch.equal(goals(), first)
    env.set_seed(7)
    assert torch.equal(goals(), first)
    env.set_seed(8)
    assert not torch.equal(goals(), first)


def test_equal_seeds_and_actions_give_equal_episodes_alone_or_in_a_batch():
    env = MetaWorldEnv("stick-pull-v3", horizon=15, num_envs=2, seed=3)
    data = env.rollout(15)
    again = MetaWorldEnv("stick-pull-v3", 15, num_envs=2, seed=3)
    assert equal(data, again.rollout(15, replay(data["action"])))
    alone = MetaWorldEnv("stick-pull-v3", horizon=15, seed=3)
    assert equal(data[0], alone.rollout(15, replay(data["action"][0])))


@pytest.mark.parametrize("env", ["hammer-v3", "push-v3", "peg-unplug-side-v3"])
def test_an_episode_end_is_restored_bit_for_bit(env):
    one = MetaWorldEnv(env, horizon=20, num_envs=2, seed=1)
    one.rollout(20)
    state = one.state_dict()
    data = one.rollout(40, break_when_any_done=False)
    other = MetaWorldEnv(env, horizon=20, num_envs=2, seed=2)
    other.rollout(7)  # even an episode broken off leaves no trace
    other.load_state_dict(state)
    assert equal(data, other.rollout(40, replay(data["action"]), break_when_any_done=False))


@pytest.mark.parametrize("env", ["hammer-v3", "push-v3", "peg-unplug-side-v3"])
def test_a_step_within_an_episode_is_restored_bit_for_bit(env):
    one = MetaWorldEnv(env, horizon=20, num_envs=2, seed=1)
    last = one.rollout(33, break_when_any_done=False)["next"][:, -1].exclude("reward")
    state = one.state_dict()
    going_on = {"tensordict": last, "auto_reset": False, "break_when_any_done": False}
    data = one.rollout(40, **going_on)
    other = MetaWorldEnv(env, horizon=20, num_envs=2, seed=2)
    other.load_state_dict(state)
    assert equal(data, other.rollout(40, replay(data["action"]), **going_on))


@pytest.mark.parametrize(
    ("env", "at_the_end"), [("window-close-v3", True), ("coffee-button-v3", False)]
)
def test_success_of_the_scripted_expert_at_any_step_and_at_the_last(env, at_the_end):
    made = MetaWorldEnv(env, horizon=200, seed=0)
    for _ in range(2):
        success = made.rollout(200, expert(env))["next", "success"]
        assert success.shape == (200, 1)
        assert success.any()
        assert bool(success[-1]) == at_the_end
        assert not success[0]


def test_an_idle_arm_never_succeeds():
    env = MetaWorldEnv("window-close-v3", horizon=60, seed=0)
    data = env.rollout(60, replay(torch.zeros(60, 4)))
    assert not data["next", "success"].any()


def test_success_does_not_depend_on_the_reward_version():
    new = MetaWorldEnv("push-back-v3", horizon=150, reward_version="v2", seed=0)
    data = new.rollout(150, expert("push-back-v3"))
    old = MetaWorldEnv("push-back-v3", horizon=150, reward_version="v1", seed=0)
    with_old = old.rollout(150, replay(data["action"]))
    assert torch.equal(data["observation"], with_old["observation"])
    assert torch.equal(data["next", "success"], with_old["next", "success"])
    assert not torch.equal(data["next", "reward"], with_old["next", "reward"])
    old.set_seed(0)
    old.reset()
    raw = [old.simulators[0].sim.step(a)[4]["success"] for a in data["action"].numpy()]
    assert raw != data["next", "success"].squeeze(-1).float().tolist()  # else nothing was tested


@pytest.mark.parametrize("horizon", [5, 510])
def test_time_limits_truncate_and_never_terminate(horizon):
    data = MetaWorldEnv("reach-v3", horizon=horizon).rollout(1000)
    assert len(data) == horizon
    after = data["next"]
    assert after["truncated"].sum() == after["done"].sum() == 1
    assert after["truncated"][-1]
    assert not after["terminated"].any()


def test_the_collector_runs_over_episode_ends():
    env = MetaWorldEnv("reach-v3", horizon=8, seed=0)
    collector = Collector(env, RandomPolicy(env.action_spec), frames_per_batch=20, total_frames=60)
    data = torch.cat(list(collector))
    collector.shutdown()
    assert data["next", "done"].squeeze(-1).nonzero().squeeze(-1).tolist() == list(range(7, 60, 8))
    starts = data["observation"][::8, GOAL]
    assert len(starts.unique(dim=0)) == len(starts)
    assert {"observation", "success"} <= set(data["next"].keys())


def test_tasks_of_a_stream_carry_its_settings():
    stream = CW10(horizon=3, reward_version="v1")
    env = stream.make_tasks()[2].make_env(num_envs=2, seed=5)
    data = env.rollout(10)
    assert data.shape == (2, 3)
    direct = MetaWorldEnv("faucet-close-v3", 3, "v1", 2, 5)
    assert equal(data, direct.rollout(10, replay(data["action"])))
