"""Reports that once said the wrong thing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cotasp.__main__ import main
from cotasp.report.charts import aggregates, threshold
from tests.report.synthetic import make_run, recipe, study


def learned(path: Path, rule: str, first: list[int | None], seed: int = 0) -> Path:
    """A run of tasks of 2,000 steps that first succeed after 1,000, 2,000 or None of their own."""
    make_run(path, recipe(3, 2, (f"dictionary.update={rule}",)), seed)
    summary = json.loads((path / "summary.json").read_text())
    for i, steps in enumerate(first):
        at = [0.0] * 6  # an evaluation every 1,000 steps
        if steps is not None:
            at[2 * i + steps // 1000 - 1 :] = [1.0] * (6 - 2 * i - steps // 1000 + 1)
        summary["success"][i] = at
    (path / "summary.json").write_text(json.dumps(summary))
    return path


@pytest.fixture
def slow_and_rare(tmp_path) -> Path:
    """All tasks at 2,000 steps, and one task of three at 1,000; mean steps are 2,000 and 1,667."""
    learned(tmp_path / "slow", "anchored", [2000, 2000, 2000])
    learned(tmp_path / "rare", "online", [1000, None, None])
    return tmp_path


def read(path: Path) -> list[dict[str, str]]:
    lines = path.read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_a_task_never_learned_is_not_reached_never_fast(slow_and_rare, capsys):  # case 22
    assert main(["report", str(slow_and_rare)]) == 0
    printed = capsys.readouterr().out
    assert "≥ 1,667 (2 of 3 not reached)" in printed
    report = slow_and_rare / "report"
    rows = {(row["variant"], row["task"]): row for row in read(report / "tasks.csv")}
    texts = (report / "tasks.md").read_text()
    assert texts.count("not reached") == 2
    for task, steps, missed in (("right", "1000", "0"), ("left", "", "1"), ("top", "", "1")):
        row = rows["update=online", task]
        assert (row["G to 0.9 mean"], row["G to 0.9 not reached"]) == (steps, missed)
        assert rows["update=anchored", task]["G to 0.9 mean"] == "2000"
    found = {row["variant"]: row for row in read(report / "metrics.csv") if row["metric"] == "G"}
    assert float(found["update=online"]["not reached"]) == pytest.approx(2 / 3)
    # sorted, the mean over what was not reached stands behind
    assert 'data-value="Infinity">≥ 1,667' in (report / "index.html").read_text()


def test_no_verdict_is_given_of_what_was_not_always_reached(tmp_path, capsys):  # case 22
    for seed in range(5):
        learned(tmp_path / f"slow/{seed}", "anchored", [2000, 2000, 2000], seed)
        learned(tmp_path / f"rare/{seed}", "online", [1000, None, None], seed)
    assert main(["compare", str(tmp_path / "slow"), str(tmp_path / "rare")]) == 0
    out = capsys.readouterr().out
    (row,) = (line for line in out.splitlines() if line.startswith("| G "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "G",
        "2,000 [2,000, 2,000]",
        "≥ 1,667 [1,667, 1,667; 10 of 15 not reached]",
        "-",
        "not always reached",
    ]
    assert "G not always reached" in out.splitlines()[-1]
    assert "P B is worse" in out.splitlines()[-1]


def test_figures_draw_no_steps_where_nothing_was_reached(slow_and_rare):  # case 22
    learned(slow_and_rare / "never", "frozen", [None, None, None])
    found = study(slow_and_rare)
    (chart,) = threshold(found).charts
    steps = {s.name: list(s.y) for s in chart.series}
    assert steps["update=online"] == [1000, None, None]
    assert steps["update=frozen"] == [None] * 3
    g = next(c for c in aggregates(found).charts if c.title.startswith("G"))
    points = {s.name: s for s in g.series}
    assert list(points["update=frozen"].y) == [None, None]
    assert points["update=online"].remarks[0] == "2 of 3 not reached"
    assert points["update=anchored"].remarks[0] == ""


def test_names_leave_out_what_all_variants_share(tmp_path):
    trials = {}
    for k, rule in enumerate(("anchored", "online")):
        learned(tmp_path / rule / "seed0", rule, [1000, 1000, 1000], k)
        trials[f"toy,horizon=[7,8],rule={rule}"] = {str(k): f"{rule}/seed0"}
    baseline = "toy,horizon=[7,8],rule=online"
    (tmp_path / "sweep.json").write_text(json.dumps({"baseline": baseline, "trials": trials}))
    assert [v.name for v in study(tmp_path).variants] == ["rule=online", "rule=anchored"]
    for asked in ("rule=anchored", "toy,horizon=[7,8],rule=anchored"):
        assert study(tmp_path, baseline=asked).variants[0].name == "rule=anchored"
