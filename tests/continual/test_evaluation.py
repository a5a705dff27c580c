"""What an evaluation makes of its episodes."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn

from cotasp.continual.evaluation import Episodes, Evaluator, judged
from cotasp.continual.setup import make_tasks
from cotasp.errors import RunError
from cotasp.recipe import Evaluation, loads
from cotasp.tasks.point_streams import Point
from cotasp.tasks.simulator import SimulatorEnv
from cotasp.tasks.task import Task


def episodes(successes: int, of: int, passing: int = 0) -> TensorDict:
    """Episodes of two steps: the first `successes` end well, the last `passing` only begin so."""
    done = torch.tensor([False, True]).expand(of, 2)
    success = torch.zeros(of, 2, dtype=torch.bool)
    success[:successes, 1] = True
    success[of - passing :, 0] = True
    data = {"done": done, "success": success, "reward": torch.ones(of, 2)}
    return TensorDict({k: v.unsqueeze(-1) for k, v in data.items()}, [of, 2])


@pytest.mark.parametrize("rule", ["last", "any"])
def test_a_success_rate_is_the_nearest_number_to_the_fraction(rule):
    """So that 9 of 10 reach a threshold of 0.9."""
    for n in range(11):
        score = judged(episodes(n, 10), Point().make_tasks()[0], rule, skips=False).score()
        assert score.success == n / 10
        assert score.episode_length == 2
        assert score.episode_return == 2


@pytest.mark.parametrize("rule", ["last", "any"])
def test_success_by_both_rules_is_kept_whichever_counts(rule):
    score = judged(episodes(3, 10, 4), Point().make_tasks()[0], rule, skips=False).score()
    assert (score.success_last, score.success_any) == (0.3, 0.7)
    assert score.success == {"last": 0.3, "any": 0.7}[rule]


class Passing(nn.Module):
    """Always to the right: past the goal in the middle, where it does not stay."""

    def forward(self, observation):
        return torch.ones(*observation.shape[:-1], 2)


@pytest.mark.parametrize("rule", ["last", "any"])
def test_an_action_that_is_held_is_evaluated_in_environment_steps(rule):
    """The same episodes with and without: steps, return and successes within an action count."""
    policy = TensorDictModule(Passing(), ["observation"], ["action"])
    scores = []
    for repeat in (1, 6):
        stream = Point(goals=("centre",), action_repeat=repeat)
        evaluator = Evaluator(
            stream.make_tasks(), Evaluation(success=rule, episodes=20), seed=0, faults="stop"
        )
        scores.append(evaluator(0, policy))
    assert scores[0].success == scores[1].success
    assert scores[0].success == (0.0 if rule == "last" else pytest.approx(0.5, abs=0.45))
    assert scores[0].episode_length == scores[1].episode_length == 30
    assert scores[0].episode_return == pytest.approx(scores[1].episode_return, rel=1e-5)


def test_the_interval_of_normalised_returns_is_about_their_mean():
    values = torch.tensor([0.2, 0.4, 0.9, 0.5], dtype=torch.float64)
    found = Episodes(values, values, values, 10 * values, torch.full((4,), 9))
    half = 1.96 * statistics.stdev(values.tolist()) / 2
    assert found.interval() == pytest.approx((0.5 - half, 0.5 + half))
    assert Episodes(*[torch.ones(2).double()] * 4, torch.ones(2)).interval() == (1.0, 1.0)


def test_the_return_of_one_episode_says_nothing_of_others():
    flags, steps = torch.tensor([False]), torch.tensor([10])
    alone = Episodes(torch.tensor([0.4]), flags, flags, torch.tensor([4.0]), steps)
    assert alone.interval() == (0.0, 1.0)


@pytest.mark.parametrize(
    ("task_input", "goals"),
    [
        ("number", "[right, left, right]"),
        ("text", "[right, {env: right, text: Go east.}]"),
    ],
)
def test_a_task_is_evaluated_with_its_own_mark_where_its_environment_is_anothers_too(
    task_input, goals
):
    recipe = loads(f"{{stream: {{name: point, goals: {goals}}}, task_input: {task_input}}}")
    tasks, seen = make_tasks(recipe), []

    def act(observation):
        seen.append(observation[0, 4:])
        return torch.zeros(*observation.shape[:-1], 2)

    evaluator = Evaluator(tasks, Evaluation(), seed=0, faults="stop")
    for number, task in enumerate(tasks):
        seen.clear()
        evaluator(number, TensorDictModule(act, ["observation"], ["action"]))
        assert torch.equal(torch.stack(seen), torch.tensor(task.mark).expand(len(seen), -1))


class Breaking:
    """Succeeds at every step, at a reward of -1; every second one breaks in its third step."""

    n_obs, n_act = 2, 1

    def __init__(self, which):
        self.breaks = which % 2 == 1

    def seed(self, seed): ...

    def reset(self):
        self.steps = 0
        return np.zeros(2)

    def step(self, action):
        self.steps += 1
        if self.breaks and self.steps == 3:
            raise ArithmeticError("unstable")
        return np.zeros(2), -1.0, False, self.steps == 10, True

    def rng_state(self):
        return {}

    def set_rng_state(self, state): ...

    def close(self): ...


@pytest.mark.parametrize("rule", ["last", "any"])
@pytest.mark.parametrize("judged", [(-20.0, 0.0), None], ids=["return", "success"])
def test_an_episode_with_a_fault_that_is_skipped_counts_as_failed(rule, judged):
    def build(num_envs, seed):
        return SimulatorEnv([Breaking(i) for i in range(num_envs)], batched=True, seed=seed)

    task = Task("break", "Break it.", "breaking", build, return_range=judged)
    evaluator = Evaluator((task,), Evaluation(episodes=4, success=rule), seed=0, faults="skip")
    policy = TensorDictModule(lambda x: x[..., :1], ["observation"], ["action"])
    found = evaluator.episodes(0, policy)
    whole = 1.0 if judged is None else 0.5
    assert found.success.tolist() == [whole, 0.0, whole, 0.0]
    assert found.steps.tolist() == [10, 3, 10, 3]
    assert found.episode_return.tolist() == [-10.0, -2.0, -10.0, -2.0]
    assert found.faults >= 2
    stops = Evaluator((task,), Evaluation(episodes=4), seed=0, faults="stop")
    with pytest.raises(RunError, match=r"task 'break': .*ArithmeticError.* by faults=skip"):
        stops(0, policy)
