"""The page of results is what its files say, and rows come from finished runs of one protocol."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.report.synthetic import RULES, make_run, make_runs, recipe

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("leaderboard", ROOT / "scripts" / "leaderboard.py")
leaderboard = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(leaderboard)


def test_the_page_is_what_the_files_say():
    assert leaderboard.PAGE.read_text(encoding="utf-8") == leaderboard.page(), (
        "docs/results.md: run python scripts/leaderboard.py"
    )
    readme = leaderboard.README.read_text(encoding="utf-8")
    assert leaderboard.with_front(readme) == readme, "README.md: run python scripts/leaderboard.py"


def test_files_are_written_as_they_are_read():
    for path in leaderboard.TABLE.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert leaderboard.dumped(json.loads(text)) == text


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Where rows go, in place of the repository's."""
    monkeypatch.setattr(leaderboard, "ROOT", tmp_path)
    monkeypatch.setattr(leaderboard, "TABLE", tmp_path / "table")
    monkeypatch.setattr(leaderboard, "PAGE", tmp_path / "results.md")
    return tmp_path / "table" / "toy.json"


def rewrite(run: Path, **changes) -> None:
    """Changes a summary."""
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, **changes}))


def add(*words):
    leaderboard.main(["add", "--to", "toy", "--commit", "abc1234", *map(str, words)])


def test_a_row_has_the_means_of_its_runs(table, tmp_path):
    runs = [make_run(tmp_path / f"seed{i}", recipe(), seed=i, kept=0.5) for i in range(3)]
    add(*runs, "--command", "cotasp run mine", "--method", "mine")
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    performance = np.mean([s["performance"] for s in summaries])
    forgetting = np.mean([s["forgetting"] for s in summaries])
    lines = leaderboard.PAGE.read_text().splitlines()
    row = next(line for line in lines if line.startswith("| `mine`")).split(" | ")
    assert row[1] == "3"
    assert row[2].startswith(f"{performance:.2f} [")
    assert row[4].startswith(f"{forgetting:.2f} [")
    assert row[-1] == "`abc1234` |"
    assert json.loads(table.read_text())["rows"]["mine"]["command"] == "cotasp run mine"


def test_what_it_cost_to_learn_most_of_it_is_told(table, tmp_path):
    good = make_run(tmp_path / "seed0", recipe(), skill=1.0)
    bad = make_run(tmp_path / "seed1", recipe(), seed=1, skill=0.3)
    for run in (good, bad):
        curves = json.loads((run / "summary.json").read_text())["success_last"]
        at = [10.0 * (i + 1) for i in range(len(curves[0]))]
        cost = {"cpu_seconds": at[-1] + 7, "cpu_seconds_at_evaluations": at}
        (run / "timing.json").write_text(json.dumps(cost))
    curves = json.loads((good / "summary.json").read_text())["success_last"]
    means = [sum(x or 0.0 for x in column) / len(curves) for column in zip(*curves)]
    there = next(10.0 * (i + 1) for i, value in enumerate(means) if value >= 0.8)
    assert 10 < there < at[-1]
    spent = (there + at[-1] + 7) / 2
    for runs, told in (([good], f"{there:.0f} s"), ([good, bad], f"> {spent:.0f} s")):
        add(*runs, "--command", "cotasp run mine", "--method", "mine")
        lines = leaderboard.PAGE.read_text().splitlines()
        (row,) = (line for line in lines if line.startswith("| `mine`"))
        assert row.split(" | ")[8] == told
    add(bad, "--command", "cotasp run mine", "--method", "mine")
    assert f"| {at[-1] + 7:.0f} s | not reached |" in leaderboard.PAGE.read_text()


def test_both_rules_of_success_are_averaged_alike(table, tmp_path):
    run = make_run(tmp_path / "seed0", recipe(), skill=1.0)
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    summary["protocol"]["averaged_evaluations"] = 2
    for rule in ("success_last", "success_any"):
        for curve in summary[rule]:
            curve[-2:] = [1.0, 0.5]
    path.write_text(json.dumps(summary))
    add(run, "--command", "one", "--method", "a")
    (told,) = json.loads(table.read_text())["rows"]["a"]["runs"]
    assert told["any"] == [0.75] * len(summary["tasks"])


def test_a_row_is_replaced_and_others_stay(table, tmp_path):
    add(make_run(tmp_path / "a", recipe()), "--command", "one", "--method", "a")
    add(make_run(tmp_path / "b", recipe()), "--command", "one", "--method", "b")
    add(make_run(tmp_path / "c", recipe(), seed=4), "--command", "two", "--method", "a")
    rows = json.loads(table.read_text())["rows"]
    assert {name: row["command"] for name, row in rows.items()} == {"a": "two", "b": "one"}
    assert [run["seed"] for run in rows["a"]["runs"]] == [4]


def test_seeds_are_added_beside_a_rows_others(table, tmp_path):
    runs = [make_run(tmp_path / f"seed{i}", recipe(), seed=i, kept=i / 4) for i in range(4)]
    add(*runs[:2], "--command", "one", "--method", "a", "--commit", "0000001")
    add(*runs[1:3], "--command", "two", "--method", "a", "--more")
    add(runs[3], "--command", "two", "--method", "a", "--more")
    row = json.loads(table.read_text())["rows"]["a"]
    commands = [leaderboard.sourced(row, run)["command"] for run in row["runs"]]
    assert commands == ["one", "two", "two", "two"]
    assert "Again: `one`; `two`." in leaderboard.PAGE.read_text()
    told = [(run["seed"], run.get("commit", row["commit"])) for run in row["runs"]]
    assert told == [(0, "0000001"), (1, "abc1234"), (2, "abc1234"), (3, "abc1234")]
    (line,) = (x for x in leaderboard.PAGE.read_text().splitlines() if x.startswith("| `a`"))
    assert line.split(" | ")[1] == "4"
    assert line.endswith("| `0000001`, `abc1234` |")
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    kept = np.array([run["forgetting"] for run in row["runs"]])
    assert kept == pytest.approx(
        np.array([s["per_task"]["forgetting"] for s in summaries]), abs=2e-6
    )


def test_a_number_that_a_method_has_not_is_a_dash(table, tmp_path):
    run = make_run(tmp_path / "a", recipe())
    add(run, "--command", "one", "--method", "a")
    rows = json.loads(table.read_text())
    rows["rows"]["a"]["runs"][0] |= {"forgetting": [None] * 3, "reached": [None] * 3}
    table.write_text(json.dumps(rows))
    leaderboard.main([])
    (row,) = (x for x in leaderboard.PAGE.read_text().splitlines() if x.startswith("| `a`"))
    assert row.split(" | ")[4] == "-"


def test_a_seed_keeps_the_day_and_machine_that_it_was_added_with(table, tmp_path):
    add(make_run(tmp_path / "a", recipe()), "--command", "one", "--method", "a")
    rows = json.loads(table.read_text())
    rows["rows"]["a"] |= {"date": "2001-01-01", "machine": "abacus"}
    table.write_text(json.dumps(rows))
    add(make_run(tmp_path / "b", recipe(), 1), "--command", "one", "--method", "a", "--more")
    first, second = json.loads(table.read_text())["rows"]["a"]["runs"]
    assert {"date": "2001-01-01", "machine": "abacus"}.items() <= first.items()
    assert not {"date", "machine", "command"} & {*second}
    assert "2001-01-01, abacus;" in leaderboard.PAGE.read_text()


def test_a_copy_of_a_run_is_no_further_seed(table, tmp_path, capsys):
    runs = [make_run(tmp_path / f"seed{i}", recipe(), seed=i) for i in range(2)]
    shutil.copytree(runs[0], tmp_path / "copy")
    add(tmp_path, "--command", "one", "--method", "a")
    assert [run["seed"] for run in json.loads(table.read_text())["rows"]["a"]["runs"]] == [0, 1]
    assert "the same recipe and seed" in capsys.readouterr().err


def test_numbers_are_computed_from_what_a_run_keeps_not_read(table, tmp_path):
    run = make_run(tmp_path / "a", recipe(), kept=0.5)
    add(run, "--command", "one", "--method", "a")
    before = json.loads(table.read_text())["rows"]["a"]["runs"]
    rewrite(run, performance=0.0, per_task={"performance": [0.0] * 3})
    add(run, "--command", "one", "--method", "a")
    assert json.loads(table.read_text())["rows"]["a"]["runs"] == before
    summary = json.loads((run / "summary.json").read_text())
    del summary["per_task"], summary["success_any"], summary["success_last"]
    (run / "summary.json").write_text(json.dumps(summary))
    add(run, "--command", "one", "--method", "a")  # as runs were written once
    (told,) = json.loads(table.read_text())["rows"]["a"]["runs"]
    assert told == {**before[0], "any": [None] * 3}


def test_a_sweeps_single_tasks_are_no_rows_but_what_ft_is_against(table, tmp_path):
    trials = {"mine": {}}
    for seed in range(2):
        make_run(tmp_path / "sweep" / f"mine{seed}", recipe(), seed)
        trials["mine"][str(seed)] = f"mine{seed}"
    for goal in ("right", "left", "top"):
        place = tmp_path / "sweep" / "single" / goal
        make_run(place, recipe(overrides=(f"stream.goals=[{goal}]",)), 0, 0.4)
        trials[f"single/{goal}"] = {"0": f"single/{goal}"}
    rewrite(place, success=[[1.0] * 5])  # AUC^b = 1: FT has no value of this one
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"trials": trials}))
    add(tmp_path / "sweep", "--command", "one")
    (row,) = json.loads(table.read_text())["rows"].values()
    told = [run["forward_transfer"] for run in row["runs"]]
    assert all(isinstance(x, float) for run in told for x in run[:2])
    assert [run[2] for run in told] == [None, None]
    (line,) = (x for x in leaderboard.PAGE.read_text().splitlines() if x.startswith("| `mine`"))
    mean = np.mean([run[:2] for run in told])
    assert line.split(" | ")[5].startswith(f"{mean:.2f} [")
    assert line.split(" | ")[5].endswith("] (2 of 3 tasks)")
    said = "FT against single-task runs of mine, 1 seed (`mine`)."
    assert said in leaderboard.PAGE.read_text()


def test_several_recipes_under_one_name_are_refused_and_nothing_is_written(table, tmp_path):
    make_runs(tmp_path / "both", {name: RULES[name] for name in "af"}, [0])
    with pytest.raises(SystemExit, match=r"expected runs of one recipe, got those of 2: .*frozen"):
        add(tmp_path / "both", "--command", "one", "--method", "a")
    for name in "af":
        trials = {"trials": {"mine": {"0": "seed0"}}}
        (tmp_path / "both" / name / "sweep.json").write_text(json.dumps(trials))
    with pytest.raises(SystemExit, match="both are called mine, got another; add them one by one"):
        add(tmp_path / "both", "--command", "one")
    assert not table.exists()


def test_a_task_without_a_success_at_the_end_is_refused_and_the_page_stays(table, tmp_path):
    add(make_run(tmp_path / "a", recipe()), "--command", "one", "--method", "a")
    before = table.read_text(), leaderboard.PAGE.read_text()
    run = make_run(tmp_path / "b", recipe())
    success = json.loads((run / "summary.json").read_text())["success"]
    rewrite(run, success=[success[0], [None] * len(success[1]), success[2]])
    with pytest.raises(SystemExit, match=r"b: expected every task's success .* got none of left"):
        add(run, "--command", "one", "--method", "b")
    leaderboard.main([])
    assert (table.read_text(), leaderboard.PAGE.read_text()) == before


def test_what_cannot_be_compared_or_named_is_refused_and_nothing_is_written(table, tmp_path):
    add(make_run(tmp_path / "a", recipe()), "--command", "one", "--method", "a")
    before = table.read_text()
    other = make_run(tmp_path / "b", recipe(per_task=6))
    with pytest.raises(SystemExit, match=r"expected protocol \w+, as all rows of toy.json, got"):
        add(other, "--command", "one", "--method", "b")
    with pytest.raises(SystemExit, match="belongs to no sweep; name its row by --method"):
        add(tmp_path / "a", "--command", "one")
    with pytest.raises(SystemExit, match="no finished run"):
        add(tmp_path / "nowhere", "--command", "one", "--method", "b")
    assert table.read_text() == before
