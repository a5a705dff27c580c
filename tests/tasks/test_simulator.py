"""The loop over simulators, against simulators whose every number is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from cotasp.errors import RunError
from cotasp.tasks.simulator import SimulatorEnv


class Counter:
    """Observes (which simulator, episode, step); ends after `length` steps; rewards the action."""

    n_obs, n_act = 3, 2

    def __init__(self, which: int, length: int, terminal: bool = False):
        self.which, self.length, self.terminal = which, length, terminal
        self.episode = self.steps = 0
        self.closed = 0

    def seed(self, seed):
        self.seeded = seed

    def reset(self):
        self.episode, self.steps = self.episode + 1, 0
        return np.array([self.which, self.episode, self.steps])

    def step(self, action):
        self.steps += 1
        over = self.steps >= self.length
        observation = np.array([self.which, self.episode, self.steps])
        ends = (over and self.terminal, over and not self.terminal)
        return observation, float(action.sum()), *ends, self.steps == 2

    def rng_state(self):
        return {"episode": self.episode}

    def set_rng_state(self, state):
        self.episode = state["episode"]

    def close(self):
        self.closed += 1


def policy(tensordict):
    which, _, steps = tensordict["observation"].unbind(-1)
    return tensordict.set("action", torch.stack([which / 10, steps / 10], -1))


def test_one_simulator_has_no_batch_dimension():
    env = SimulatorEnv([Counter(0, 3)], batched=False, seed=0)
    check_env_specs(env)
    assert env.rollout(2)["observation"].shape == (2, 3)


def test_specs_hold_for_a_batch():
    check_env_specs(SimulatorEnv([Counter(i, 3) for i in range(4)], batched=True, seed=0))


def test_simulators_end_and_restart_each_by_itself():
    env = SimulatorEnv([Counter(0, 2), Counter(1, 3, terminal=True)], batched=True, seed=0)
    data = env.rollout(6, policy, break_when_any_done=False)
    which, episode, steps = data["observation"].unbind(-1)
    assert which.tolist() == [[0.0] * 6, [1.0] * 6]
    assert episode.tolist() == [[1, 1, 2, 2, 3, 3], [1, 1, 1, 2, 2, 2]]
    assert steps.tolist() == [[0, 1, 0, 1, 0, 1], [0, 1, 2, 0, 1, 2]]
    after = data["next"]
    assert after["observation"][..., 2].tolist() == [[1, 2, 1, 2, 1, 2], [1, 2, 3, 1, 2, 3]]
    ends = torch.tensor([[0, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(after["done"].squeeze(-1), ends)
    assert torch.equal(after["truncated"].squeeze(-1)[0], ends[0])
    assert torch.equal(after["terminated"].squeeze(-1)[1], ends[1])
    assert not after["terminated"][0].any()
    assert not after["truncated"][1].any()
    assert after["success"].squeeze(-1).int().tolist() == [[0, 1] * 3, [0, 1, 0] * 2]
    assert not data["success"][:, 0].any()
    assert not data["success"][0, 2].any()
    expected = data["action"].sum(-1, keepdim=True)
    torch.testing.assert_close(after["reward"], expected)


def test_stopping_each_simulator_at_its_own_end():
    env = SimulatorEnv([Counter(0, 2), Counter(1, 4)], batched=True, seed=0)
    data = env.rollout(9, policy, break_when_any_done=False, break_when_all_done=True)
    assert data.shape == (2, 4)
    assert [simulator.steps for simulator in env.simulators] == [2, 4]
    assert data["next", "observation"][0, -1].tolist() == [0, 1, 2]


def test_a_partial_reset_leaves_the_others_where_they_are():
    env = SimulatorEnv([Counter(0, 9), Counter(1, 9)], batched=True, seed=0)
    now = env.rollout(3, policy)["next"][:, -1].exclude("reward")
    after = env.reset(now.set("_reset", torch.tensor([[False], [True]])))
    assert after["observation"].tolist() == [[0, 1, 3], [1, 2, 0]]


def test_collected_data_is_never_overwritten():
    env = SimulatorEnv([Counter(0, 9)], batched=False, seed=0)
    first = env.reset()
    kept = first.clone()
    stepped = env.step(policy(first.clone()))
    stepped_kept = stepped.clone()
    env.step(policy(stepped["next"].clone()))
    env.reset()
    assert (first == kept).all()
    assert (stepped == stepped_kept).all()


def test_seeds_differ_between_simulators_and_do_not_depend_on_their_number():
    few, many = ([Counter(i, 3) for i in range(n)] for n in (2, 5))
    SimulatorEnv(few, batched=True, seed=3)
    SimulatorEnv(many, batched=True, seed=3)
    assert len({simulator.seeded for simulator in many}) == 5
    assert [s.seeded for s in few] == [s.seeded for s in many[:2]]


def test_the_state_is_a_tensor_and_fits_only_its_own_number_of_simulators():
    env = SimulatorEnv([Counter(0, 2), Counter(1, 2)], batched=True, seed=0)
    env.rollout(4, policy, break_when_any_done=False)
    state = env.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    other = SimulatorEnv([Counter(0, 2), Counter(1, 2)], batched=True, seed=9)
    other.load_state_dict(state)
    assert [s.episode for s in other.simulators] == [2, 2]
    with pytest.raises(ValueError, match="state of 2 simulators for an environment of 1"):
        SimulatorEnv([Counter(0, 2)], batched=False, seed=0).load_state_dict(state)


def test_a_state_within_an_episode_brings_each_simulator_back_to_its_step():
    env = SimulatorEnv([Counter(0, 2), Counter(1, 4)], batched=True, seed=0)
    last = env.rollout(7, policy, break_when_any_done=False)["next"][:, -1].exclude("reward")
    other = SimulatorEnv([Counter(0, 2), Counter(1, 4)], batched=True, seed=9)
    other.load_state_dict(env.state_dict())
    assert [(s.episode, s.steps) for s in other.simulators] == [(4, 1), (2, 3)]
    going_on = {"auto_reset": False, "break_when_any_done": False}
    expected = env.rollout(5, policy, tensordict=last.clone(), **going_on)
    assert (other.rollout(5, policy, tensordict=last.clone(), **going_on) == expected).all()
    assert torch.equal(other.state_dict()["_extra_state"], env.state_dict()["_extra_state"])


def test_a_simulator_that_is_no_function_of_its_seed_is_found_out():
    env = SimulatorEnv([Counter(0, 4)], batched=False, seed=0)
    env.rollout(2, policy)
    other = SimulatorEnv([Counter(5, 4)], batched=False, seed=0)
    with pytest.raises(RunError, match=r"Counter: an episode could not be repeated"):
        other.load_state_dict(env.state_dict())


def test_closing_twice_closes_once():
    env = SimulatorEnv([Counter(0, 2)], batched=False, seed=0)
    env.close()
    env.close()
    assert env.simulators[0].closed == 1


@pytest.mark.parametrize(("n", "batched"), [(0, True), (0, False), (2, False)])
def test_the_number_of_simulators_must_fit_the_batch(n, batched):
    with pytest.raises(ValueError, match="does not go with"):
        SimulatorEnv([Counter(i, 2) for i in range(n)], batched=batched, seed=0)


@pytest.mark.parametrize("batched", [False, True])
def test_a_held_action_is_one_step_of_the_environment_and_several_of_the_simulator(batched):
    """Rewards add up, success of the last step is told apart from success of any."""
    env = SimulatorEnv([Counter(0, 6)], batched=batched, seed=0, action_repeat=3)
    check_env_specs(env)
    data = env.rollout(10, policy)["next"].reshape(-1)
    assert data["observation"][:, 2].tolist() == [3, 6]
    assert data["reward"].flatten().tolist() == pytest.approx([0.0, 3 * 0.3])
    assert data["truncated"].flatten().tolist() == [False, True]
    assert data["success"].flatten().tolist() == [False, False]  # the Counter's second step
    assert data["succeeded"].flatten().tolist() == [True, False]


@pytest.mark.parametrize("terminal", [False, True])
def test_an_episode_that_ends_within_a_held_action_ends_there(terminal):
    env = SimulatorEnv([Counter(0, 4, terminal)], batched=False, seed=0, action_repeat=3)
    data = env.rollout(10, policy)["next"]
    assert data["observation"][:, 2].tolist() == [3, 4]
    assert data["terminated"].flatten().tolist() == [False, terminal]
    assert data["done"].flatten().tolist() == [False, True]


def test_a_held_action_is_repeated_when_an_episode_is():
    env, other = (SimulatorEnv([Counter(0, 9)], False, 0, action_repeat=3) for _ in range(2))
    now = env.reset()
    _, now = env.step_and_maybe_reset(policy(now))
    other.load_state_dict(env.state_dict())
    ours, theirs = (e.step(policy(now.clone()))["next", "observation"] for e in (env, other))
    assert torch.equal(ours, theirs)
