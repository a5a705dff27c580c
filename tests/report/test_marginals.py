"""Means per axis, of sweeps and of recipes that were run by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from cotasp.__main__ import main
from cotasp.report.axes import factorial, independent
from cotasp.report.marginals import marginal_table
from tests.report.synthetic import make_run, make_runs, recipe, study

GRID = {
    f"{update}-{k}": ((f"dictionary.update={update}", "mask=topk", f"mask.k={k}"), skill)
    for (update, k), skill in {
        ("anchored", 3): 0.9,
        ("anchored", 9): 0.7,
        ("frozen", 3): 0.5,
        ("frozen", 9): 0.3,
    }.items()
}


def test_a_value_is_the_mean_of_the_variants_that_have_it(tmp_path):
    found = study(make_runs(tmp_path, GRID, range(3)))
    table = marginal_table(found)
    assert [[cell.text for cell in row[:3]] for row in table.rows] == [
        ["dictionary.update", "anchored", "2"],
        ["dictionary.update", "frozen", "2"],
        ["mask.k", "3", "2"],
        ["mask.k", "9", "2"],
    ]
    for row in table.rows:
        chosen = [v for v in found.variants if f"={row[1].text}" in v.name]
        expected = np.mean([v.scores("performance") for v in chosen])
        mean, low, high = row[3].numbers
        assert mean == pytest.approx(expected)
        assert low < mean < high
    # the best skill does not reach 0.9 in every task and seed
    assert [row[6].text for row in table.rows][1] == "not reached"


def test_a_page_has_them_and_csv_has_bounds(tmp_path):
    make_runs(tmp_path, GRID, range(2))
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert '<section id="axes" aria-label="Axes">' in (tmp_path / "out/index.html").read_text()
    heading = (tmp_path / "out/axes.csv").read_text().splitlines()
    assert any(line.startswith("axis,value,variants,P mean,P low,P high,") for line in heading)


def test_the_axes_of_a_sweep_are_those_that_it_names(tmp_path):
    """Two settings that change together are one axis, with the sweep's own names."""
    make_runs(tmp_path, GRID, [0])
    names = {name: {"memory": name.split("-")[0], "size": f"k{name[-1]}"} for name in GRID}
    trials = {name: {"0": f"{name}/seed0"} for name in GRID}
    (tmp_path / "sweep.json").write_text(json.dumps({"trials": trials, "axes": names}))
    table = marginal_table(study(tmp_path))
    values = [(row[0].text, row[1].text) for row in table.rows]
    assert values == [("memory", "anchored"), ("memory", "frozen"), ("size", "k3"), ("size", "k9")]


def test_no_means_where_a_combination_is_missing_or_there_is_one_axis(tmp_path):
    grid = dict(list(GRID.items())[:3])
    assert marginal_table(study(make_runs(tmp_path / "three", grid, [0]))) is None
    line = {name: GRID[name] for name in ("anchored-3", "frozen-3")}
    assert marginal_table(study(make_runs(tmp_path / "line", line, [0]))) is None


def test_a_metric_that_one_variant_lacks_is_compared_on_no_axis(tmp_path):
    """FT: one of four variants has no single-task runs, so each axis would lose a value's half."""
    make_runs(tmp_path, GRID, [0, 1])
    for name in list(GRID)[:3]:
        overrides, skill = GRID[name]
        for goal in ("right", "left", "top"):
            single = (*overrides, f"stream.goals=[{goal}]")
            make_run(tmp_path / "single" / name / goal, recipe(overrides=single), 0, skill / 2)
    found = study(tmp_path)
    assert [bool(variant.singles) for variant in found.variants] == [True, True, True, False]
    table = marginal_table(found)
    by_symbol = dict(zip(table.columns, zip(*table.rows)))
    assert [cell.text for cell in by_symbol["FT"]] == ["-"] * 4
    assert all(cell.value is not None for cell in by_symbol["P"])
    heading = next(line for line in table.csv().splitlines() if line.startswith("axis,"))
    assert "FT mean,FT low,FT high" in heading


def test_what_differs_together_is_one_axis():
    found = {"a": ["1", "1", "2", "2"], "b": ["x", "x", "y", "y"], "c": ["0", "5", "0", "5"]}
    assert independent(found) == {"a": found["a"], "c": found["c"]}
    assert factorial(independent(found), 4)
    assert not factorial(found, 4)
    assert not factorial({"a": ["1", "2"]}, math.prod([2]))
