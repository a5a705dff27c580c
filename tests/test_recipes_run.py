"""Every recipe that is shipped can be run: a few updates of every phase, on the toy stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from cotasp.continual.loop import run
from cotasp.recipe import load
from cotasp.sweep import load_sweep

ROOT = Path(__file__).parents[1]
RECIPES = sorted(
    path for room in ("", "methods") for path in (ROOT / "recipes" / room).glob("*.yaml")
)
SWEEPS = sorted((ROOT / "recipes" / "ablations").glob("*.yaml"))
BRIEF = [
    "stream={name: point, goals: [right, left], horizon: 10}",
    "steps_per_task=30",
    "frames_per_batch=10",
    "agent.batch_size=8",
    "agent.buffer_size=100",
    "agent.warmup_steps=10",
    "agent.theta_updates=3",
    "actor.hidden=[256, 256]",
    "evaluation.every=30",
    "evaluation.episodes=2",
]


def trials() -> dict[str, tuple[Path, list[str]]]:
    """Every recipe, and every variant of every sweep that is a recipe of its own."""
    found = {path.name: (path, []) for path in RECIPES}
    known = [load(path) for path in RECIPES]
    for path in SWEEPS:
        plan = load_sweep(path)
        variants = plan.variants()
        for name, recipe in plan.recipes().items():
            if recipe not in known:
                known.append(recipe)
                found[f"{path.name}-{name}"] = (variants[name].recipe, [*variants[name].overrides])
    return found


TRIALS = trials()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:recipe.agent.gamma")  # of an episode that is short here only
@pytest.mark.parametrize("name", TRIALS)
def test_recipe_runs(name, tmp_path):
    path, overrides = TRIALS[name]
    recipe = load(path, overrides)
    fields = vars(recipe.agent)
    named = [(text, text.partition("=")[0].removeprefix("agent.")) for text in BRIEF]
    brief = [text for text, key in named if not text.startswith("agent.") or key in fields]
    # what a recipe switches off stays off
    brief += ["agent.ppo.num_envs=2", "agent.meta.updates=2"] * ("meta" in fields)
    for key in ("code_updates", "distillation_updates"):
        brief += [f"agent.{key}=2"] * (fields.get(key, 0) > 0)
    if getattr(recipe.stream, "together", 1) > 1:
        brief += ["stream.together=2"]
        brief += ["agent.critic.tasks=2"] * hasattr(recipe.agent.critic, "tasks")
    brief += ["protection.samples=64"] * hasattr(recipe.protection, "samples")
    if getattr(recipe.encoder, "model", "all-MiniLM-L6-v2") != "all-MiniLM-L6-v2":
        brief.append("encoder=random")  # its model is on the hub only
    summary = run(load(path, [*overrides, *brief]), tmp_path / "run", progress=False)
    assert len(summary["success"]) == 2
    assert summary["forward_transfer"] is None


@pytest.mark.slow
def test_meta_world_runs(tmp_path):
    recipe = load(
        ROOT / "recipes" / "quickstart.yaml",
        [
            "steps_per_task=400",
            "stream.tasks=[drawer-close-v3, reach-v3]",
            "agent.warmup_steps=380",
            "agent.distillation_updates=2",
            "evaluation.every=400",
            "evaluation.episodes=2",
        ],
    )
    summary = run(recipe, tmp_path / "run", progress=False)
    assert summary["tasks"] == ["drawer-close-v3", "reach-v3"]
    assert summary["forgetting"] == 0.0
    assert summary["protocol"]["horizon"] == 200
