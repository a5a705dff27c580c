"""When a task counts as learned, what is known of trials that never did, and the script itself."""

from __future__ import annotations

import doctest
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import _learning
import pytest
from _learning import Bounds, duration, interval, learned, median, minimum, ratio, shown
from _learning_tables import Trial, ratios_of, rows_of, write_json

from cotasp.recipe import load

ROOT = Path(__file__).parents[2]
NEVER = math.inf


@pytest.mark.parametrize(
    ("success", "index"),
    [
        ([0.0, 0.9, 0.8, 0.8, 0.8, 0.0], 1),  # only the next three count
        ([0.0, 0.9, 0.8, 0.8, 0.7, 0.9, 1.0], 5),
        ([0.0, 0.8, 0.8, 0.8, 0.8], None),
        ([0.0, 1.0, 0.9], 1),
        ([0.0, 1.0, 0.7], None),
        ([1.0, 1.0, 1.0, 1.0], 0),
        ([], None),
    ],
)
def test_learned(success, index):
    assert learned(success) == learned(success, end_counts=True) == index


def test_the_last_evaluation_counts_if_asked_to():
    assert learned([0.0, 1.0]) is None
    assert learned([0.0, 1.0], end_counts=True) == 1


def test_what_was_not_learned_would_have_taken_more():
    curve = [(100, 0.0, 1.0), (200, 1.0, 2.5), (300, 1.0, 4.0)]
    assert duration(curve, 0) == Bounds(200, 200)
    assert duration(curve, 2) == Bounds(2.5, 2.5)
    assert duration(curve[:2], 0) == Bounds(200, NEVER)
    assert duration(curve[:2], 2) == Bounds(2.5, NEVER)


def test_ratios_are_bounded_where_one_side_is():
    known, more = Bounds(6.0, 6.0), Bounds(12.0, NEVER)
    assert ratio(known, Bounds(3.0, 3.0)) == (2.0, 2.0)
    assert ratio(more, known) == (2.0, NEVER)
    assert ratio(known, more) == (0.0, 0.5)
    assert ratio(more, more) == (0.0, NEVER)


def test_medians_and_minima_of_bounds():
    values = [Bounds(1, 1), Bounds(3, 3), Bounds(9, NEVER)]
    assert median(values) == (3, 3)
    assert median(values[1:]) == (6, NEVER)
    assert minimum(values) == (1, 1)
    assert minimum(values[2:]) == (9, NEVER)


def test_an_interval_reaches_beyond_the_budget_where_too_many_failed():
    low, high = interval([Bounds(1, 1), Bounds(3, 3), Bounds(9, NEVER)])
    assert low == (1, 1)
    assert high == (9, NEVER)
    assert interval([Bounds(5, 5)] * 4) == ((5, 5), (5, 5))


def test_what_is_shown():
    assert shown(Bounds(12000, NEVER), ",.0f") == "> 12,000"
    assert shown(Bounds(0.0, NEVER), ".2f") == "?"
    assert doctest.testmod(_learning).failed == 0


def trial(setting: str, seed: int, seconds: float, learns: bool = True) -> Trial:
    success = (0.0, 1.0, 1.0) if learns else (0.0, 0.0, 0.5)
    curve = [(100 * i, s, seconds * i) for i, s in enumerate(success, 1)]
    return Trial(setting, "a", seed, {"a": curve}, {"a": success[-1]}, 1.0, 0.0, 300, 6.0, 9.0)


def test_tables(tmp_path):
    trials = [
        trial("fast", 0, 1.0),
        trial("slow", 0, 4.0),
        trial("fast", 1, 1.0),
        trial("slow", 1, 5.0, learns=False),
        trial("slow", 2, 4.0),  # without its pair
    ]
    slow, fast = rows_of(trials, ["slow", "fast"], end_counts=False)
    assert (slow["setting"], slow["learned"], slow["seeds"]) == ("slow", 2, 3)
    assert slow["steps"][0] == (200, 200)
    assert slow["cpu_seconds"][0] == (8.0, 8.0)
    assert (slow["final_mean"], slow["final_min"]) == (pytest.approx(2.5 / 3), 0.5)
    assert fast["cpu_ms_per_update"] == 20.0
    (row,) = ratios_of(trials, ["slow", "fast"], end_counts=False)
    assert (row["numerator"], row["denominator"]) == ("slow", "fast")
    assert row["by_seed"] == {0: (4.0, 4.0), 1: (7.5, NEVER)}
    assert row["minimum"] == (4.0, 4.0)
    assert row["median"] == (5.75, NEVER)
    write_json(tmp_path / "found.json", {"ratios": [row], "none": [], "criterion": {"kept": 0.8}})
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["ratios"][0]["by_seed"]["1"] == [7.5, None]
    assert (found["none"], found["criterion"]) == ([], {"kept": 0.8})


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks/learning").glob("*.yaml")), ids=str)
def test_settings_are_recipes(path):
    assert load(path).stream.make_tasks()


@pytest.mark.slow
def test_the_script_goes_on_where_it_was(tmp_path):
    def call(*words: str) -> str:
        command = [sys.executable, str(ROOT / "benchmarks/learning.py"), *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    out, found = str(tmp_path / "out"), tmp_path / "found.json"
    brief = ("--quick", "--goals", "right", "--seeds", "0", "--steps", "400", "--out", out)
    first = call(*brief, "--json", str(found))
    assert len(re.findall(r"^\[\d/2\] toy", first, re.MULTILINE)) == 2
    assert first.endswith(f"2 trials; results in {out} and {found}\n")
    trials = json.loads(found.read_text())["trials"]
    assert [(t["setting"], t["seed"]) for t in trials] == [("toy_before", 0), ("toy", 0)]
    assert [point[0] for point in trials[0]["curves"]["right"]] == [200, 400]
    again, only = call(*brief), call("--report-only", "--out", out)
    assert again.startswith("0 trials to run, 2 there")
    tables = only.partition("\n2 trials;")[0]
    assert tables in first
    assert tables in again
