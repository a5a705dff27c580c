"""What the page of measurements says of frozen weights is what was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_figures_of_the_result():
    result = json.loads((ROOT / "results/frozen.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/measurements.md").read_text(encoding="utf-8")
    section = page.split("## What a new task finds frozen")[1].split("\n## ")[0]
    told = re.findall(r"(\d+) \+- [\d.]+ % \| (\d+) \+-", section)
    found = [
        tuple(f"{100 * mean(run[-1] for run in of[by]):.0f}" for by in ("owners", "tasks"))
        for of in result["frozen"].values()
    ]
    assert told == found
    for of in result["frozen"].values():
        for owners, tasks in zip(of["owners"], of["tasks"]):
            assert all(b <= a for a, b in zip(owners, tasks))
