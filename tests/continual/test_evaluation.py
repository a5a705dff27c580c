"""What an evaluation makes of its episodes."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from cotasp.continual.evaluation import Evaluator
from cotasp.recipe import Evaluation
from cotasp.tasks.streams import Point


def episodes(successes: int, of: int) -> TensorDict:
    """Episodes of two steps, the first of which `successes` end well."""
    done = torch.tensor([False, True]).expand(of, 2)
    success = torch.zeros(of, 2, dtype=torch.bool)
    success[:successes, 1] = True
    data = {"done": done, "success": success, "reward": torch.ones(of, 2)}
    return TensorDict({k: v.unsqueeze(-1) for k, v in data.items()}, [of, 2])


@pytest.mark.parametrize("rule", ["last", "any"])
def test_a_success_rate_is_the_nearest_number_to_the_fraction(rule):
    """So that 9 of 10 reach a threshold of 0.9."""
    evaluator = Evaluator(Point().make_tasks(), Evaluation(success=rule), seed=0)
    for n in range(11):
        score = evaluator._score(episodes(n, 10), "task")
        assert score.success == n / 10
        assert score.episode_length == 2
        assert score.episode_return == 2
