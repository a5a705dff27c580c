"""Metrics against numbers worked by hand, and against definitions written out as loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotasp.continual.history import History
from cotasp.continual.kept import Kept
from cotasp.continual.metrics import METRICS, Metric
from cotasp.continual.protocol import changed_formulas, protocol_stamp
from cotasp.continual.score import Score
from tests.continual.runs import tiny

NAN = math.nan
#                      task 0, task 1
SUCCESS = np.array([[0.2, NAN],
                    [1.0, 0.0],
                    [0.9, 0.5],
                    [0.7, 0.8]])  # fmt: skip
KEPT = Kept(
    success=SUCCESS,
    trained=np.array([0, 0, 1, 1]),
    task_steps=np.array([1000, 2000, 1000, 2000]),
    budget=2000,
    average=1,
    threshold=0.9,
    baseline=np.array([0.5, 0.8]),
    matrices={"episode_return": 100 * SUCCESS},
    training_return=np.array([[1.0, 3.0], [NAN, 6.0]]),
    training_episodes=np.array([[3.0, 1.0], [0.0, 2.0]]),
    return_threshold=3.0,
)


def per_task(name: str, **changes) -> list[float]:
    return METRICS[name].per_task(replace(KEPT, **changes)).tolist()


def test_by_hand():
    found = {name: per_task(name) for name in METRICS}
    assert found == {
        "performance": [0.7, 0.8],
        "forgetting": pytest.approx([0.3, 0.0]),
        "forward_transfer": pytest.approx([0.1 / 0.5, -0.15 / 0.2]),
        "steps_to_threshold": [2000, 2000],
        "reached": [1.0, 0.0],
        "plasticity": [1.0, 0.8],
        "zero_shot": pytest.approx([NAN, 0.0], nan_ok=True),
        "area_under_curve": pytest.approx([0.6, 0.65]),
        "final_return": pytest.approx([70, 80]),
        "training_return": [1.5, 6.0],
        "episodes_to_return": [3.0, 0.0],
    }


def test_values_at_an_end_are_means_of_what_was_evaluated():
    assert per_task("performance", average=2) == pytest.approx([0.8, 0.65])
    assert per_task("performance", average=4) == pytest.approx([0.7, 1.3 / 3])
    assert per_task("plasticity", average=2) == pytest.approx([0.6, 0.65])


def test_steps_to_a_threshold_that_is_never_reached_are_the_whole_budget():
    assert per_task("steps_to_threshold", threshold=0.5) == [2000, 1000]
    assert per_task("steps_to_threshold", threshold=0.81, budget=5000) == [2000, 5000]
    unseen = np.where(np.arange(2) == 1, NAN, SUCCESS)
    for name in ("steps_to_threshold", "reached"):
        assert math.isnan(per_task(name, success=unseen)[1])


def test_what_has_no_value_is_nan():
    transfer = METRICS["forward_transfer"]
    assert math.isnan(per_task("forward_transfer", baseline=np.array([0.5, 1.0]))[1])
    for baseline in (None, np.array([0.5, NAN])):
        assert math.isnan(transfer(replace(KEPT, baseline=baseline)))
    assert math.isnan(METRICS["final_return"](replace(KEPT, matrices={})))
    assert METRICS["zero_shot"](KEPT) == 0.0, "the first task can have none"


@st.composite
def histories(draw) -> Kept:
    """Streams of some tasks with gaps, of which the last task's end alone is sure."""
    tasks, each = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    count = tasks * each
    rate = st.sampled_from([NAN, 0.0, 0.1, 0.5, 0.9, 1.0])
    rows = draw(st.lists(st.lists(rate, min_size=tasks, max_size=tasks), min_size=count,
                         max_size=count))  # fmt: skip
    success = np.array(rows)
    return Kept(
        success=success,
        trained=np.repeat(np.arange(tasks), each),
        task_steps=np.tile(10 * (1 + np.arange(each)), tasks),
        budget=10 * each,
        average=draw(st.integers(1, each)),
        threshold=draw(st.sampled_from([0.1, 0.9, 1.0])),
        baseline=np.array(draw(st.lists(rate, min_size=tasks, max_size=tasks))),
    )


def reference(kept: Kept, i: int) -> dict[str, float]:
    """The definitions, task by task and evaluation by evaluation."""

    def mean(values: list[float]) -> float:
        there = [v for v in values if not math.isnan(v)]
        return sum(there) / len(there) if there else NAN

    column = [float(v) for v in kept.success[:, i]]
    training = [v for v, trained in zip(column, kept.trained) if trained == i]
    evaluated = [v for v in training if not math.isnan(v)]
    earlier = [v for v, now in zip(column, kept.trained) if now < i and not math.isnan(v)]
    end = mean(column[len(column) - kept.average :])
    own = mean(evaluated[-kept.average :])
    auc = mean(training)
    base = float(kept.baseline[i])
    steps = NAN if not evaluated else kept.budget
    reached = NAN if not evaluated else 0.0
    for value, trained, taken in reversed(list(zip(column, kept.trained, kept.task_steps))):
        if trained == i and value >= kept.threshold:
            steps, reached = int(taken), 1.0
    return {
        "performance": end,
        "plasticity": own,
        "forgetting": own - end,
        "area_under_curve": auc,
        "forward_transfer": NAN if base == 1 else (auc - base) / (1 - base),
        "steps_to_threshold": steps,
        "reached": reached,
        "zero_shot": earlier[-1] if earlier else NAN,
        "final_return": NAN,
        "training_return": NAN,
        "episodes_to_return": NAN,
    }


@given(histories())
def test_every_metric_is_its_definition(kept):
    expected = [reference(kept, i) for i in range(kept.tasks)]
    for name, metric in METRICS.items():
        column = [row[name] for row in expected]
        assert metric.per_task(kept).tolist() == pytest.approx(column, nan_ok=True), name
        whole = sum(column[metric.first :]) / n if (n := kept.tasks - metric.first) else NAN
        assert metric(kept) == pytest.approx(whole, nan_ok=True), name


# -- histories -------------------------------------------------------------------------------


def history(rule: str = "last") -> History:
    """Success at the last step as above; at any step more of it."""
    found = History(["a", "b"], rule, budget=2000, average=1, threshold=0.9, return_threshold=3.0)
    for row, task, steps in zip(SUCCESS, KEPT.trained, KEPT.task_steps):
        scores = {
            i: Score(NAN, float(v), min(1.0, float(v) + 0.3), 100 * float(v), 7.0)
            for i, v in enumerate(row)
            if not math.isnan(v)
        }
        found.add(int(task), int(steps), scores)
    return found


def test_a_summary_has_every_metric_and_the_matrices():
    training = {"episode_return": [[1.0, 3.0], [None, 6.0]], "episodes": [[3, 1], [0, 2]]}
    summary = history().summary([0.5, 0.8], training)
    assert summary["training"] == training
    for name, metric in METRICS.items():
        assert summary[name] == pytest.approx(metric(KEPT)), name
    assert summary["per_task"]["zero_shot"] == [None, 0.0]
    assert summary["success"][1] == summary["success_last"][1] == [None, 0.0, 0.5, 0.8]
    assert summary["success_any"][1] == [None, 0.3, 0.8, 1.0]
    assert summary["episode_return"][1] == [None, 0.0, 50.0, 80.0]
    assert history().summary([0.5, None])["forward_transfer"] is None


def test_the_rule_says_which_success_counts_and_all_is_kept_by_either():
    last, anywhere = history("last"), history("any")
    assert last.state_dict() == anywhere.state_dict()
    assert anywhere.to_json()["success"] == last.to_json()["success_any"]
    assert anywhere.summary([None, None])["performance"] == pytest.approx(1.0)


def test_what_a_summary_keeps_is_what_it_was_made_of():
    stamp = {"steps_per_task": 2000, "averaged_evaluations": 1, "threshold": 0.9}
    made = history()
    kept = Kept.from_summary({**made.summary([0.5, 0.8]), "protocol": stamp})
    for name, metric in METRICS.items():
        again, once = metric.per_task(kept), metric.per_task(made.kept([0.5, 0.8]))
        np.testing.assert_allclose(again, once, atol=1e-6, err_msg=name)


def test_a_history_that_is_saved_and_loaded_is_the_same_to_the_last_bit():
    first, second = history(), History(["a", "b", "c"], "last", 2000, 1, 0.9)
    second.load_state_dict(first.state_dict())
    for name, matrix in first.matrices.items():
        np.testing.assert_array_equal(second.matrices[name][:, :2], matrix)
        assert np.isnan(second.matrices[name][:, 2]).all()


# -- the stamp -------------------------------------------------------------------------------


BEST = Metric(
    "best", "B", "B = mean_i max_t p_i(t)", True, "rate", lambda kept: np.nanmax(kept.success, 0)
)


def test_a_new_metric_leaves_the_hash_and_another_rule_does_not(monkeypatch):
    before = protocol_stamp(tiny())
    assert before["formulas"]["performance"] == "P = mean_i p_i(end)"
    monkeypatch.setitem(METRICS, "best", BEST)
    after = protocol_stamp(tiny())
    assert after["formulas"]["best"] == BEST.formula
    assert after["hash"] == before["hash"]
    others = ("evaluation.success=any", "evaluation.every=20", "steps_per_task=200",
              "stream.goals=[left, right]")  # fmt: skip
    hashes = {protocol_stamp(tiny(change))["hash"] for change in others}
    assert len(hashes | {before["hash"]}) == 1 + len(others)


def test_formulas_are_compared_metric_by_metric(monkeypatch):
    old = protocol_stamp(tiny())
    monkeypatch.setitem(METRICS, "best", BEST)
    assert changed_formulas([old, protocol_stamp(tiny())]) == {}, "new is not changed"
    changed = replace(METRICS["forgetting"], formula="F = another")
    monkeypatch.setitem(METRICS, "forgetting", changed)
    assert changed_formulas([old, old]) == {"forgetting": [old["formulas"]["forgetting"]]}


def test_the_evaluation_before_any_training_counts_in_no_metric():
    """It is the best of all, and changes nothing."""
    with_it = Kept(
        success=np.array([[1.0, 1.0], [0.2, 0.0], [0.4, 0.0], [0.4, 1.0], [0.3, 0.5]]),
        trained=np.array([0, 0, 0, 1, 1]),
        task_steps=np.array([0, 50, 100, 0, 50]),
        budget=100,
        average=2,
        threshold=0.9,
    )
    kept = with_it.task_steps > 0
    without = replace(
        with_it,
        success=with_it.success[kept],
        trained=with_it.trained[kept],
        task_steps=with_it.task_steps[kept],
    )
    for name in ("plasticity", "area_under_curve", "steps_to_threshold", "reached"):
        found, expected = METRICS[name].per_task(with_it), METRICS[name].per_task(without)
        assert np.array_equal(found, expected, equal_nan=True), name
    assert METRICS["area_under_curve"].per_task(with_it).tolist() == pytest.approx([0.3, 0.5])
    assert METRICS["steps_to_threshold"].per_task(with_it).tolist() == [100, 100]


def test_a_return_that_no_batch_reached_is_told():
    unreached = METRICS["episodes_to_return"].unreached
    assert unreached is not None
    assert unreached(replace(KEPT, return_threshold=4.0)).tolist() == [1.0, 0.0]
    assert np.isnan(unreached(replace(KEPT, return_threshold=None))).all()
    recalled = replace(KEPT, training_episodes=np.array([[3.0, 1.0], [0.0, 0.0]]))
    assert np.isnan(unreached(recalled)).tolist() == [False, True]  # it never trained
