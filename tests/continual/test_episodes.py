"""Returns of training's episodes, and the metrics made of them, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from cotasp.continual.episodes import TrainingEpisodes, spans
from cotasp.continual.kept import Kept
from cotasp.continual.loop import run
from cotasp.continual.metrics import METRICS
from cotasp.tasks.task import Task
from tests.continual.runs import tiny


def batch(
    reward: list[list[float]],
    begins: list[list[int]],
    ends: list[list[int]],
    success: list[list[int]] | None = None,
    marks: list[list[list[float]]] | None = None,
) -> TensorDict:
    shape = [len(reward), len(reward[0])]
    done = torch.tensor(ends, dtype=torch.bool).unsqueeze(-1)
    following = {
        "success": done if success is None else torch.tensor(success).unsqueeze(-1).bool(),
        "reward": torch.tensor(reward).unsqueeze(-1),
        "done": done,
    }
    is_init = torch.tensor(begins, dtype=torch.bool).unsqueeze(-1)
    observation = torch.tensor(marks or [[[1.0]] * shape[1]] * shape[0])
    return TensorDict(
        {"observation": observation, "is_init": is_init, "next": TensorDict(following, shape)},
        shape,
    )


TASK = Task("a", "a", "a", build=lambda count, seed: None)
FIRST = [[1, 2, 4], [8, 16, 32]], [[1, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 0]]
SECOND = [[1, 1, 1], [64, 5, 7]], [[0, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]


def test_episodes_count_where_they_end_and_go_over_batches():
    made = TrainingEpisodes(tasks=2, steps_per_task=18, frames_per_batch=6)
    made.begin_task()
    assert made.add(0, 6, batch(*FIRST), [TASK]) == [("a", 4, 3.0, 2, 1.0)]
    # the second environment was left after 8 + 16 + 32 + 64, without an end
    assert made.add(0, 12, batch(*SECOND), [TASK]) == [
        ("a", 12, 7.0, 4, 1.0),
        ("a", 12, 12.0, 2, 1.0),
    ]
    other = TrainingEpisodes(tasks=2, steps_per_task=18, frames_per_batch=6)
    other.load_state_dict(made.state_dict())
    assert other.to_json() == {
        "episode_return": [[3.0, 9.5, None], [None] * 3],
        "episodes": [[1, 2, 0], [0] * 3],
    }
    other.begin_task()
    other.add(1, 18, batch([[3.0], [4.0]], [[1], [1]], [[1], [1]]), [TASK])
    assert other.to_json()["episode_return"][1] == [None, None, 3.5]


@pytest.mark.parametrize(("rule", "expected"), [("last", [1.0, 0.0]), ("any", [1.0, 1.0])])
def test_success_of_an_episode_follows_the_rule_over_batches(rule, expected):
    """Two episodes of four: the first succeeds at its end, the second in its middle."""
    made = TrainingEpisodes(1, 12, 6, rule)
    begins, ends = [[1, 0, 0, 0], [1, 0, 0, 0]], [[0, 0, 0, 1], [0, 0, 0, 1]]
    whole = [[0, 0, 0, 1], [0, 1, 0, 0]]
    halves = [
        made.add(
            0,
            steps,
            batch(*([line[part] for line in rows] for rows in (begins, begins, ends, whole))),
            [TASK],
        )
        for steps, part in ((4, slice(0, 2)), (8, slice(2, 4)))
    ]
    assert halves[0] == []
    assert [each.success for each in halves[1]] == expected


def test_an_episode_judged_by_its_return_and_held_actions():
    made = TrainingEpisodes(1, 12, 6)
    task = replace(TASK, return_range=(0.0, 12.0), action_repeat=3)
    rows = batch([[1.0, 2.0, 50.0, 9.0]], [[1, 0, 1, 1]], [[0, 1, 1, 0]])
    assert made.add(0, 12, rows, [task]) == [
        ("a", 6, 3.0, 6, 0.25),
        ("a", 9, 50.0, 3, 1.0),
    ]


@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [((1.0, 0.0), (0.0, 1.0)), ((0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)), ((-0.2,), (0.4,))],
)
def test_episodes_of_a_lesson_are_of_the_task_whose_turn_it_is(of_a, of_b):
    """Whatever marks it: the number in the lesson, that in the stream, or a text's embedding."""
    made = TrainingEpisodes(2, 12, 6)
    first = replace(TASK, mark=of_a)
    other = replace(TASK, name="b", return_range=(0.0, 8.0), mark=of_b)
    marks = [[[0.3, *of_b], [0.3, *of_b], [0.3, *of_a]]]
    rows = batch([[1.0, 2.0, 4.0]], [[1, 0, 1]], [[0, 1, 1]], marks=marks)
    assert made.add(0, 6, rows, [first, other]) == [("b", 5, 3.0, 2, 0.375), ("a", 6, 4.0, 1, 1.0)]


@pytest.mark.parametrize(("steps", "frames", "expected"), [(4500, 300, 15), (10**6, 40, 100)])
def test_spans_are_batches_or_a_hundred(steps, frames, expected):
    assert spans(steps, frames) == expected


def test_metrics_of_returns():
    kept = Kept(
        success=np.zeros((1, 3)),
        trained=np.array([0]),
        task_steps=np.array([1]),
        budget=1,
        training_return=np.array([[1.0, 2.0, 6.0], [np.nan, 5.0, 7.0], [0.0, 0.0, 0.0]]),
        training_episodes=np.array([[2.0, 1.0, 1.0], [0.0, 3.0, 3.0], [1.0, 1.0, 1.0]]),
        return_threshold=5.0,
    )
    assert METRICS["training_return"].per_task(kept).tolist() == [2.5, 6.0, 0.0]
    assert METRICS["episodes_to_return"].per_task(kept).tolist() == [3.0, 0.0, 3.0]
    assert METRICS["training_return"](kept) == pytest.approx(8.5 / 3)
    unknown = Kept(np.zeros((1, 3)), np.array([0]), np.array([1]), 1)
    for name in ("training_return", "episodes_to_return"):
        assert np.isnan(METRICS[name](unknown))


def test_a_run_keeps_its_training_s_returns(tmp_path):
    summary = run(tiny("evaluation.return_threshold=-100"), tmp_path / "run", progress=False)
    counts = np.array(summary["training"]["episodes"])
    assert counts.shape == (2, 10)
    assert counts.sum(1).tolist() == [14, 14]  # of seven steps each, of a hundred
    returns = np.array(summary["training"]["episode_return"], dtype=float)
    assert summary["per_task"]["training_return"] == pytest.approx(
        np.nansum(returns * counts, 1) / 14, abs=1e-5
    )
    assert summary["per_task"]["episodes_to_return"] == [0.0, 0.0]
    assert summary["protocol"]["return_threshold"] == -100
