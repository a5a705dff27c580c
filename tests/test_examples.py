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
