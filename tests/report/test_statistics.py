"""Estimates and intervals, against rliable where it is installed and against definitions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cotasp.report.statistics import estimate, improvement, interquartile_mean, mean


def scores(seeds: int, tasks: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((seeds, tasks))


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 1000))
def test_the_interquartile_mean_is_the_trimmed_mean(seeds, tasks, seed):
    values = scores(seeds, tasks, seed)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values.ravel(), 0.25))


@pytest.mark.parametrize("shape", [(5, 10), (10, 4), (5, 1), (10, 1)])
def test_numbers_are_those_of_rliable_and_with_one_task_intervals_too(shape):
    with warnings.catch_warnings():  # of its dependencies
        warnings.simplefilter("ignore")
        library = pytest.importorskip("rliable.library", exc_type=Exception)
        metrics = pytest.importorskip("rliable.metrics")

    def both(x):
        return np.array([metrics.aggregate_iqm(x), metrics.aggregate_mean(x)])

    values = scores(*shape)
    np.random.seed(0)  # noqa: NPY002  (rliable draws from the global state)
    points, intervals = library.get_interval_estimates({"a": values}, both, reps=4000)
    for column, statistic in enumerate((interquartile_mean, mean)):
        ours = estimate(values, statistic, 20_000)
        assert ours.value == pytest.approx(points["a"][column])
        if shape[1] == 1:
            width = intervals["a"][1, column] - intervals["a"][0, column]
            assert ours[1:] == pytest.approx(intervals["a"][:, column], abs=0.08 * width)


def test_one_seed_has_no_interval():
    assert estimate(scores(1, 5), mean)[1:] == (None, None)
    assert estimate(np.full((3, 2), np.nan), mean).value is None


def test_an_interval_is_the_same_every_time_and_narrows_with_seeds():
    few, many = estimate(scores(4, 5), mean), estimate(scores(64, 5), mean)
    assert few == estimate(scores(4, 5), mean)
    assert few.high - few.low > 2 * (many.high - many.low)


def test_improvement_counts_pairs_and_halves_ties():
    ours = np.array([[1.0, 0.5], [0.0, 0.5]])
    theirs = np.array([[0.0, 0.5], [1.0, 0.0]])
    assert improvement(ours, theirs).value == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert improvement(ours, ours)[:3] == (0.5, 0.5, 0.5)


def test_improvement_is_paired_by_seed():
    """Seeds of very different luck: unpaired, nothing could be said."""
    luck = np.linspace(0, 0.9, 10)[:, None] * np.ones((1, 3))
    better = improvement(luck + 0.01, luck)
    assert (better.value, better.low) == (1.0, 1.0)


def test_tasks_of_one_seed_are_drawn_together():
    """Ten copies of a task say no more than the task: the interval is the same."""
    values = scores(6, 1)
    assert estimate(np.tile(values, 10), mean) == pytest.approx(estimate(values, mean))


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_intervals_cover_the_truth_about_as_often_as_they_say(shared):
    """Also where the tasks of a seed rise and fall together."""
    random = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        luck, own = random.normal(size=(20, 1)), random.normal(size=(20, 5))
        values = np.sqrt(shared) * luck + np.sqrt(1 - shared) * own
        covered.append(not estimate(values, mean, 500).excludes(0.0))
    assert 0.90 <= np.mean(covered) <= 0.97


def test_scores_that_differ_by_how_sums_round_are_equal():
    ours, theirs = np.full((5, 1), 0.1 + 0.2), np.full((5, 1), 0.3)
    assert ours[0, 0] != theirs[0, 0]
    assert improvement(ours, theirs) == (0.5, 0.5, 0.5)
    assert not estimate(ours - theirs, mean).excludes(0.0)
    assert estimate(ours - theirs + 1e-6, mean).excludes(0.0)
    assert improvement(ours + 1e-6, theirs).value == 1.0
