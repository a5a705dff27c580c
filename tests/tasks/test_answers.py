"""What simulators answer is checked where it is taken."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from cotasp.errors import RunError
from cotasp.tasks.answers import flag
from cotasp.tasks.simulator import SimulatorEnv


class Simulator:
    """One of three numbers, whose second step answers as it is told."""

    n_obs, n_act = 3, 1

    def __init__(self, **answer):
        self.answer = answer
        self.steps = 0

    def seed(self, seed):
        pass

    def reset(self):
        self.steps = 0
        return np.zeros(self.answer.get("reset", 3))

    def step(self, action):
        self.steps += 1
        usual = {"observation": np.ones(3), "terminated": False, "truncated": False}
        now = usual | {"success": False} | (self.answer if self.steps == 2 else {})
        if "exit" in now:
            sys.exit(now["exit"])
        return now["observation"], 1.0, now["terminated"], now["truncated"], now["success"]

    def rng_state(self):
        return {}

    def set_rng_state(self, state):
        pass

    def close(self):
        pass


def rollout(**answer):
    env = SimulatorEnv([Simulator(**answer)], batched=False, seed=0)
    now, steps = env.reset(), []
    for _ in range(2):
        now = env.step(now.set("action", torch.zeros(1)))["next"]
        steps.append(now.clone())
    return torch.stack(steps)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"success": "no"}, r"expected true or false as success, got 'no'"),
        ({"success": None}, r"expected true or false as success, got None"),
        ({"success": float("nan")}, r"expected true or false as success, got nan"),
        ({"success": 0.4}, r"expected true or false as success, got 0\.4"),
        ({"terminated": "False"}, r"expected true or false as terminated, got 'False'"),
        ({"truncated": [False, False]}, r"expected true or false as truncated, got \[False, Fal"),
        ({"observation": np.ones(4)}, r"expected 3 numbers as observation, .* got \(4,\)"),
        ({"reset": 2}, r"expected 3 numbers as observation, .* got \(2,\)"),
        ({"exit": 3}, r"expected an answer, got sys\.exit\(3\)"),
    ],
)
def test_an_answer_of_another_form_is_named(answer, message):
    with pytest.raises(RunError, match=message):
        rollout(**answer)


@pytest.mark.parametrize("value", [True, np.True_, 1, 1.0, np.float32(1), np.array([True])])
def test_a_number_that_is_zero_or_one_is_a_flag(value):
    assert flag("success", value) is True
    assert flag("success", value != value) is False


def test_flags_are_taken_as_they_are():
    steps = rollout(success=np.float64(1.0), truncated=np.bool_(True))
    assert steps["success"].flatten().tolist() == [False, True]
    assert steps["done"].flatten().tolist() == [False, True]
