"""The examples that need no finished run do what they say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from cotasp import KINDS

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_a_protection_of_ones_own_is_checked_and_learns(tmp_path, monkeypatch):
    kind = KINDS["protection"]
    for name, value in list(vars(kind).items()):
        if isinstance(value, dict):  # what is registered here is gone after the test
            monkeypatch.setattr(kind, name, dict(value))
    runpy.run_path(str(EXAMPLES / "write_a_protection.py"))["main"](str(tmp_path / "run"))
    assert "absolute_pull" in (tmp_path / "run/recipe.yaml").read_text()
    assert json.loads((tmp_path / "run/summary.json").read_text())["steps"] == 800


def test_td3_learns_two_tasks_on_masked_layers_and_forgets_nothing():
    path = EXAMPLES / "train_td3_on_masked_layers.py"
    success, unchanged = runpy.run_path(str(path))["main"]()
    assert unchanged
    assert min(success) >= 0.9


def test_an_environment_of_ones_own_is_run_and_evaluated(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    main = runpy.run_path(str(EXAMPLES / "use_your_own_environment.py"))["main"]
    main(str(tmp_path / "run"), "steps_per_task=400", "actor.hidden=[32, 32]")
    said = capsys.readouterr().out
    assert "is known: Left-v0" in said
    assert "success on" in said


def test_every_cell_of_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "first_steps.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    brief = 'cotasp.load("smoke", ["steps_per_task=300", "agent.warmup_steps=100"])'
    assert 'cotasp.load("smoke")' in code[0]
    known: dict = {}
    for source in code:
        exec(source.replace('cotasp.load("smoke")', brief), known)
    assert known["facts"].verdict == "new"
    assert known["figure"].axes
    assert all(not cell.get("outputs") for cell in cells), "commit the notebook without outputs"
