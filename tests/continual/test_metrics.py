"""Metrics on matrices small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cotasp.continual import metrics
from cotasp.continual.history import History

NAN = math.nan
#                      task 0, task 1
SUCCESS = np.array([[0.2, NAN],
                    [1.0, 0.0],
                    [0.9, 0.5],
                    [0.7, 0.8]])  # fmt: skip
TRAINED = np.array([0, 0, 1, 1])
STEPS = np.array([1000, 2000, 1000, 2000])


def test_performance():
    assert metrics.performance(SUCCESS, average=1) == pytest.approx((0.7 + 0.8) / 2)
    assert metrics.performance(SUCCESS, average=2) == pytest.approx((0.8 + 0.65) / 2)


def test_performance_averages_what_was_evaluated():
    assert metrics.final_success(SUCCESS, average=4) == pytest.approx([0.7, 1.3 / 3])


def test_forgetting():
    # own training: task 0 ends at 1.0, task 1 at 0.8; end: 0.7 and 0.8
    assert metrics.forgetting(SUCCESS, TRAINED, average=1) == pytest.approx((0.3 + 0.0) / 2)
    assert metrics.own_success(SUCCESS, TRAINED, average=2) == pytest.approx([0.6, 0.65])


def test_forward_transfer():
    auc = metrics.area_under_curve(SUCCESS, TRAINED)
    assert auc == pytest.approx([0.6, 0.65])
    transfer = metrics.forward_transfer(auc, [0.5, 0.8])
    assert transfer == pytest.approx([0.1 / 0.5, -0.15 / 0.2])
    assert math.isnan(metrics.forward_transfer([0.9], [1.0])[0])


def test_steps_to_threshold():
    assert metrics.steps_to_threshold(SUCCESS, TRAINED, STEPS, 0.9) == [0.002, None]
    assert metrics.steps_to_threshold(SUCCESS, TRAINED, STEPS, 0.5) == [0.002, 0.001]


def test_a_history_gives_the_same_figures_and_plain_json():
    history = History(["a", "b"], average=1, threshold=0.9)
    for row, task, steps in zip(SUCCESS, TRAINED, STEPS):
        scores = {i: float(v) for i, v in enumerate(row) if not math.isnan(v)}
        history.add(int(task), int(steps), scores)
    summary = history.summary([0.5, 0.8])
    assert summary["performance"] == pytest.approx(0.75)
    assert summary["forgetting"] == pytest.approx(0.15)
    assert summary["forward_transfer"] == pytest.approx((0.2 - 0.75) / 2)
    assert summary["success"][1] == [None, 0.0, 0.5, 0.8]
    assert summary["steps_to_threshold"] == [0.002, None]
    assert history.summary([0.5, None])["forward_transfer"] is None
