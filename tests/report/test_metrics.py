"""Metrics in a report are computed from what runs keep, whenever the runs were written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cotasp.continual.metrics import METRICS, Metric
from cotasp.report.compare import comparison, comparison_table, verdict
from cotasp.report.results import metric_table, result_table
from cotasp.report.statistics import Estimate
from cotasp.report.tables import Table
from cotasp.report.writing import all_tables
from tests.report.synthetic import RULES, make_run, recipe, study

BEST = Metric(
    "best", "B", "B = mean_i max_t p_i(t)", True, "rate", lambda kept: np.nanmax(kept.success, 0)
)


def summary_of(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def rewrite(run: Path, change) -> None:
    """Changes a summary in place."""
    summary = summary_of(run)
    change(summary)
    (run / "summary.json").write_text(json.dumps(summary))


def rows(table: Table, symbol: str) -> dict[str, list]:
    """Values of a metric by variant."""
    return {r[1].text: [c.value for c in r[2:6]] for r in table.rows if r[0].text == symbol}


def test_a_new_metric_is_computed_on_runs_from_before_it_existed(runs, monkeypatch):
    old = study(runs).protocols
    monkeypatch.setitem(METRICS, "best", BEST)
    kept = [summary_of(runs / "a" / f"seed{seed}")["success"] for seed in range(5)]
    expected = sum(max(task) for run in kept for task in run) / 15
    found = study(runs)
    mean, low, high, _ = rows(metric_table(found), "B")["update=anchored"]
    assert mean == pytest.approx(expected)
    assert low < mean < high
    table = comparison_table(comparison(runs / "f", runs / "a"))
    assert "B" in [row[0].text for row in table.rows]
    # and runs written since stand beside them, under one stamp and without a star
    make_run(runs / "new", recipe(overrides=RULES["a"][0]), 5)
    assert "best" in summary_of(runs / "new")["protocol"]["formulas"]
    both = study(runs)
    assert both.protocols.keys() == old.keys()
    assert not both.changed
    assert any(v.seeds == [0, 1, 2, 3, 4, 5] for v in both.variants)
    assert BEST.formula + "." in metric_table(both).notes


def test_numbers_in_a_summary_are_not_what_is_reported(runs):
    expected = [[c.text for c in row] for t in all_tables(study(runs)) for row in t.rows]
    for run in runs.glob("*/seed*"):
        rewrite(run, lambda summary: [summary.pop(name) for name in [*METRICS, "per_task"]])
    found = [[c.text for c in row] for t in all_tables(study(runs)) for row in t.rows]
    assert found == expected


def test_another_formula_marks_its_metric_alone(runs):
    def other(summary: dict) -> None:
        summary["protocol"]["formulas"]["forgetting"] = "F = an older one"

    rewrite(runs / "a" / "seed0", other)
    found = study(runs)
    assert not found.mixed
    columns = result_table(found).columns
    assert [name for name in columns if "*" in name] == ["F*", "F* IQM"]
    (note,) = [n for n in result_table(found).notes if n.startswith("F*")]
    assert note.endswith("by: F = an older one.")
    unmarked = study(runs / "o", runs / "f")
    assert not any("*" in name for name in result_table(unmarked).columns)


def test_runs_that_kept_no_returns_lack_what_needs_them_and_nothing_else(runs):
    whole = {name: rows(metric_table(study(runs)), METRICS[name].symbol) for name in METRICS}
    for run in runs.glob("*/seed*"):
        rewrite(run, lambda summary: [summary.pop(f) for f in ("episode_return", "success_any")])
    table = metric_table(study(runs))
    for name, expected in whole.items():
        found = rows(table, METRICS[name].symbol)
        if name == "final_return":
            assert all(values == [None] * 4 for values in found.values())
            assert expected["update=anchored"][0] > 0
        else:
            assert found == expected


def test_a_runs_own_baseline_serves_where_there_are_no_single_tasks(runs):
    for run in (runs / "a").iterdir():
        rewrite(run, lambda summary: summary.update(baseline=[0.5, 0.25, 0.0]))
    (variant,) = study(runs / "a").variants
    summary = summary_of(runs / "a" / "seed1")
    auc = [sum(task[5 * i : 5 * i + 5]) / 5 for i, task in enumerate(summary["success"])]
    expected = [(auc[0] - 0.5) / 0.5, (auc[1] - 0.25) / 0.75, auc[2]]
    assert variant.scores("forward_transfer")[1] == pytest.approx(expected)


def test_every_metric_says_its_direction_and_unit(runs):
    table = metric_table(study(runs))
    told = {row[0].text: [cell.text for cell in row[-2:]] for row in table.rows}
    assert told["P"] == ["rate", "higher"]
    assert told["G"] == ["steps", "lower"]
    assert told["R"] == ["return", "higher"]


@pytest.mark.parametrize("name", METRICS)
def test_formulas_begin_with_the_symbol_and_verdicts_know_the_direction(name):
    metric = METRICS[name]
    assert metric.name == name
    assert metric.formula.startswith(f"{metric.symbol} = ")
    better = "B is better" if metric.higher_is_better else "B is worse"
    assert verdict(Estimate(0.2, 0.1, 0.3), name, 5) == better
