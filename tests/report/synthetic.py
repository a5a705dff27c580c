"""Run directories as a run would have left them, with made-up results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from cotasp.continual.history import History
from cotasp.continual.protocol import protocol_stamp
from cotasp.continual.score import Score
from cotasp.recipe import Recipe, dump, loads, with_seed
from cotasp.report.runs import read_runs
from cotasp.report.study import Study, make_study

GOALS = ["right", "left", "top", "bottom", "upper-right", "lower-left", "upper-left", "lower-right"]


RULES = {
    "a": (("dictionary.update=anchored",), 0.9),
    "o": (("dictionary.update=online",), 0.5),
    "f": (("dictionary.update=frozen",), 0.4),
}


@cache
def recipe(tasks: int = 3, per_task: int = 5, overrides: tuple[str, ...] = ()) -> Recipe:
    """A recipe on the point toy; goals come back when there are more tasks than goals."""
    goals = ", ".join((GOALS * 3)[:tasks])
    text = (
        f"stream: {{name: point, goals: [{goals}]}}\nsteps_per_task: {per_task * 1000}\n"
        f"evaluation: {{every: 1000, schedule: full, average: 1}}\n"
        f"agent: {{warmup_steps: 100}}\n"
    )
    return loads(text, overrides)


@cache
def names(recipe: Recipe) -> list[str]:
    """Names of the tasks."""
    return [task.name for task in recipe.stream.make_tasks()]


@cache
def written(recipe: Recipe) -> str:
    return dump(with_seed(recipe, 0))


def make_run(
    path: Path, recipe: Recipe, seed: int = 0, skill: float = 0.8, kept: float = 1.0
) -> Path:
    """A finished run directory.

    Args:
        path: the directory.
        recipe: of the run.
        seed: of the run and its made-up results.
        skill: success that a task's training ends with, about.
        kept: fraction of it that is there at the end.
    """
    path.mkdir(parents=True)
    tasks = names(recipe)
    random = np.random.default_rng([seed, int(1000 * skill)])
    every, budget = recipe.evaluation.every, recipe.steps_per_task
    settings = recipe.evaluation
    history = History(
        tasks, settings.success, budget, recipe.averaged_evaluations, settings.threshold
    )
    for trained in range(len(tasks)):
        for steps in range(every, budget + 1, every):
            scores = {}
            for i in range(len(tasks)):
                done = 0.0 if i > trained else steps / budget if i == trained else 1.0
                fade = 1.0 if i >= trained else kept
                noise = 0.05 * random.normal()
                success = float(np.clip(skill * fade * done**0.5 + noise * (done > 0), 0, 1))
                scores[i] = Score(success, success, min(1.0, success + 0.1), 50 * success, 30.0)
            history.add(trained, steps, scores)
        facts = {"updates": 1000.0 * budget / 1000}
        for layer in (1, 2):
            facts |= {
                f"dictionary/layer{layer}/change": 0.1 / (1 + trained),
                f"dictionary/layer{layer}/recall": 0.9 + 0.1 * float(random.random()),
                f"dictionary/layer{layer}/recall_min": 0.8,
                f"active/layer{layer}": 0.1,
                f"owned/layer{layer}": min(1.0, 0.1 * (1 + trained)),
            }
        history.facts[tasks[trained]] = facts
    spans = [(i + 1) / 4 for i in range(4)]
    training = {
        "episode_return": [[20 * skill * done + random.normal() for done in spans] for _ in tasks],
        "episodes": [[5] * len(spans) for _ in tasks],
    }
    near = np.eye(len(tasks)) * 0.5 + 0.5 * float(random.random())
    summary = {
        **history.summary([None] * len(tasks), training),
        "capacity_used": [0.3, 0.4],
        "mask_overlap": near.tolist(),
        "text_similarity": near.tolist(),
        "protocol": protocol_stamp(recipe),
        "seed": seed,
        "versions": {"cotasp": "0.1.0"},
    }
    (path / "recipe.yaml").write_text(written(recipe).replace("seed: 0\n", f"seed: {seed}\n"))
    (path / "summary.json").write_text(json.dumps(summary))
    cost = {"wall_seconds": 100.0 + seed, "peak_memory_bytes": 5e8}
    (path / "timing.json").write_text(json.dumps(cost))
    return path


def make_runs(
    folder: Path, variants: dict[str, tuple[tuple[str, ...], float]], seeds: Sequence[int], **size
) -> Path:
    """`folder/<variant>/seed<n>` of each variant: its overrides and its skill."""
    for name, (overrides, skill) in variants.items():
        for seed in seeds:
            made = recipe(**size, overrides=overrides)
            make_run(folder / name / f"seed{seed}", made, seed, skill)
    return folder


def study(*paths: Path, **options) -> Study:
    """The study of what directories hold."""
    return make_study(read_runs(paths), **options)
