"""Shipped recipes of methods: each has its row, and until the first task ends seven are one run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cotasp.continual.loop import run
from cotasp.recipe import load
from cotasp.sweep import load_sweep

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes" / "methods").glob("*.yaml"))
ALIKE = ("l2", "ewc", "mas", "packnet", "agem", "cloning")
BRIEF = [
    "stream={name: point, goals: [right, left], horizon: 10}",
    "steps_per_task=60",
    "frames_per_batch=10",
    "agent.batch_size=8",
    "agent.warmup_steps=20",
    "agent.gamma=0.9",
    "actor.hidden=[16, 16]",
    "evaluation={every: 20, episodes: 2}",
]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_opens_with_its_command_its_question_and_its_source(path):
    command, question, source, *_ = path.read_text(encoding="utf-8").splitlines()
    assert command == f"# cotasp run recipes/methods/{path.name}"
    assert question.startswith("question: ")
    assert re.match(r"# Source: .*(arXiv \d{4}\.\d{5}|Nature)", source)
    assert load(path).question.endswith((".", "?"))


def test_every_recipe_has_a_row_and_a_place_in_both_sweeps():
    names = {path.stem for path in RECIPES}
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == names
    for sweep in ("methods", "methods_toy"):
        plan = load_sweep(ROOT / "recipes" / "sweeps" / f"{sweep}.yaml")
        assert set(plan.variants()) == names


def first_task(path: Path, out: Path) -> list[str]:
    """Every line that a run logs before its first task has ended."""
    overrides = [*BRIEF, *["protection.samples=8"] * hasattr(load(path).protection, "samples")]
    run(load(path, overrides), out, progress=False)
    metrics = (out / "metrics.csv").read_text(encoding="utf-8").splitlines()[1:]
    episodes = (out / "episodes.csv").read_text(encoding="utf-8").splitlines()[1:]
    kept = [line for line in metrics if int(line.split(",")[0]) < 60]
    return kept + [line for line in episodes if int(line.split(",")[1]) <= 60]


@pytest.mark.slow
def test_until_the_first_task_ends_seven_methods_are_one_run_bit_for_bit(tmp_path):
    """As recipes, on the toy: every loss, return and success."""
    folder = ROOT / "recipes" / "methods"
    plain = first_task(folder / "finetune.yaml", tmp_path / "finetune")
    assert sum("episode_return" in line for line in plain) == 3  # at steps 0, 20 and 40
    for name in ALIKE:
        assert first_task(folder / f"{name}.yaml", tmp_path / name) == plain, name
