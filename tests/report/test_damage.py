"""Directories that are unfinished, damaged or empty: a sentence each, the rest is reported."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotasp.continual.metrics import METRICS, Metric
from cotasp.continual.table import summary_table
from cotasp.report.page import render
from cotasp.report.writing import all_tables, report_figures
from cotasp.sweep.running import Outcome, outcome_table
from tests.report.synthetic import RULES, make_run, make_runs, recipe, study


def empty(path: Path) -> str:
    path.mkdir()
    return "holds no run directory"


def unfinished(path: Path) -> str:
    make_run(path, recipe(), 7)
    (path / "summary.json").unlink()
    return f"not finished, no summary.json; left out until `cotasp resume {path}` has"


def damaged(text: str, what: str):
    def damage(path: Path) -> str:
        make_run(path, recipe(), 7)
        (path / "summary.json").write_text(text)
        return what

    return damage


def changed(key: str, value, what: str):
    def damage(path: Path) -> str:
        make_run(path, recipe(), 7)
        summary = json.loads((path / "summary.json").read_text())
        summary[key] = value
        (path / "summary.json").write_text(json.dumps(summary))
        return what

    return damage


def no_recipe(path: Path) -> str:
    make_run(path, recipe(), 7)
    (path / "recipe.yaml").unlink()
    return "recipe.yaml is missing"


def tagged(path: Path) -> str:
    make_run(path, recipe(), 7)
    (path / "recipe.yaml").write_text("mask: !!python/object/apply:os.system [touch pwned]\n")
    return "tags (!) are not allowed"


@pytest.mark.parametrize(
    "spoil",
    [
        empty,
        unfinished,
        no_recipe,
        tagged,
        damaged("", "cannot be read"),
        damaged('{"performance": 0.', "cannot be read"),
        damaged("[1, 2]", "expected a mapping"),
        damaged("{}", "stamp is missing"),
        damaged("[" * 100_000, "cannot be read"),
        changed("success", [[0.1], [0.2, 0.3], [0.4]], "do not fit success"),
        changed("success_any", [[1.5] * 15] * 3, "do not fit success_any"),
        changed("episode_return", [["a"] * 15] * 3, "do not fit episode_return"),
        changed("tasks", ["right"], "for each task"),
        changed("baseline", ["a", None, 1], "the baseline does not have"),
        changed("seed", "zero", "the seed is missing"),
        changed("evaluations", {}, "evaluations are missing"),
        changed("performance", "good", "performance is no number"),
        changed("per_task", {"performance": [1]}, "per_task is not one list"),
        *(
            changed(
                "evaluations",
                {"trained": [0] * 15, "task_steps": [0] * 15, "lessons": lessons},
                "the evaluations' lessons are not",
            )
            for lessons in ("x", [0], [0, "a", 1], [0, 0, 7])
        ),
        changed(
            "evaluations",
            {"trained": [9] * 15, "task_steps": [1000] * 15},
            "the evaluations' trained names a task that there is not",
        ),
        changed(
            "training",
            {"episode_return": [[]] * 3, "episodes": [[]] * 3},
            "the returns of training are not",
        ),
    ],
)
def test_what_cannot_be_used_is_a_sentence(spoil, runs, tmp_path):
    expected = spoil(tmp_path / "bad")
    found = study(runs, tmp_path / "bad", tmp_path / "nowhere")
    assert sum(len(v.runs) for v in found.variants) == 15
    (sentence,) = [p for p in found.problems if str(tmp_path / "bad") in p]
    assert expected in sentence
    assert "\n" not in sentence
    assert any("nowhere: no such directory" in p for p in found.problems)


def test_a_run_that_a_metric_fails_on_is_left_out_and_the_rest_is_reported(runs, monkeypatch):
    """Whatever was not thought of in `damage`."""

    def unlucky(kept):
        if (kept.success == 0.125).any():
            raise IndexError("no such row")
        return kept.success[-1]

    for field, name in (("function", "picky"), ("unreached", "wary")):
        metric = Metric(name, "X", "X = x", True, "rate", lambda kept: kept.success[-1])
        monkeypatch.setitem(METRICS, name, replace(metric, **{field: unlucky}))
        changed("success", [[0.125] * 15] * 3, "")(runs / name)
        found = study(runs)
        assert sum(len(v.runs) for v in found.variants) == 15
        (sentence,) = [p for p in found.problems if str(runs / name) in p]
        assert "no such row" in sentence
        assert all_tables(found)
        shutil.rmtree(runs / name)
        monkeypatch.delitem(METRICS, name)


def test_links_to_runs_are_told_unless_these_are_there(runs, tmp_path):
    make_run(tmp_path / "elsewhere", recipe(), 7)
    (runs / "link").symlink_to(tmp_path / "elsewhere")
    (runs / "latest").symlink_to(runs / "a" / "seed0")
    (sentence,) = study(runs).problems[:1]
    assert sentence.startswith(f"{runs / 'link'}: left out, for it is a symbolic link")
    assert not any("latest" in problem for problem in study(runs).problems)
    found = study(runs, runs / "link")
    assert sum(len(v.runs) for v in found.variants) == 16
    assert not any("symbolic link" in problem for problem in found.problems)


JUNK = [None, True, -1, 0, 1e999, 10**400, "x", "9", [], [[]], {}, {"a": {}}, [None], [1e308] * 3]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_to_a_summary_stops_the_report(spoiled, data):
    """Any one value of a summary replaced by junk: the run is used, or left out with a sentence."""
    path, whole = spoiled
    node = summary = json.loads(whole)
    while True:
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(list(keys)))
        if not (isinstance(node[key], (dict, list)) and node[key] and data.draw(st.booleans())):
            break
        node = node[key]
    node[key] = data.draw(st.sampled_from(JUNK))
    path.write_text(json.dumps(summary))
    found = study(path.parents[2], mix_protocols=True)
    page = render(found, all_tables(found), report_figures(found))
    assert page.endswith("</html>\n")
    used = any(run.path == path.parent for v in found.variants for run in v.runs)
    assert not used or summary_table(summary).startswith("task")
    assert outcome_table({"seed0": Outcome("done")}, path.parents[1])
    assert used or any(str(path) in problem for problem in found.problems)


@pytest.fixture
def spoiled(tmp_path) -> tuple[Path, str]:
    folder = make_runs(tmp_path / "two", {"a": RULES["a"]}, range(2), tasks=2, per_task=2)
    path = folder / "a" / "seed0" / "summary.json"
    return path, path.read_text()
