"""What is guaranteed of whole runs, over every registered name; `test_contracts.py` has the rest.

A run that was stopped and resumed ends with the bits of one that was not, and a result names its
protocol, recipe, seed, versions and formulas, whichever component is swapped in; and whatever the
encoder, and however exact the solver, the text alone gives a task its prompt back.
"""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

import cotasp
from cotasp.continual.collection import Collection
from cotasp.continual.loop import resume, run
from cotasp.continual.metrics import METRICS
from cotasp.continual.protocol import protocol_stamp, versions
from cotasp.errors import RunStopped
from cotasp.recipe import load, loads
from cotasp.registry import KINDS
from tests.continual.runs import contents, tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::cotasp.errors.ConvergenceWarning"),
]
SHORT = ("steps_per_task=40", "evaluation={every: 20, episodes: 1}")
REHEARSED = ("memory={name: shelf, size: 30}", "mask=dense")
ON_POLICY = ("frames_per_batch=30", "steps_per_task=60", "evaluation.every=30")
NEEDS: dict[tuple[str, str], tuple[str, ...]] = {  # what goes with a name, and what fits
    ("encoder", "sbert"): ("actor.hidden=[64, 64]",),
    ("memory", "mixed"): ("memory={name: mixed, size: 30}", "mask=dense"),
    ("memory", "reservoir"): ("memory={name: reservoir, size: 30}", "mask=dense"),
    ("mask", "topk"): ("mask={name: topk, k: 9}",),
    ("mask", "packnet"): ("protection={name: freeze, by: tasks}", "actor.heads=per_task"),
    ("mask", "copies"): ("protection=none",),
    ("mask", "tadell"): ("protection=none",),
    ("mask", "wsn"): ("protection={name: freeze, by: tasks}", "actor.heads=per_task"),
    ("mask", "pnn"): ("actor.norm=none",),
    ("mask", "progress_compress"): (
        "actor={norm: none, heads: per_task}",
        "protection={name: ewc, weight: 10, samples: 8}",
    ),
    ("mask", "hat"): ("agent.distillation_updates=0",),
    ("protection", "ewc"): ("protection={name: ewc, weight: 10, samples: 8}", "mask=dense"),
    ("protection", "mas"): ("protection={name: mas, weight: 10, samples: 8}", "mask=dense"),
    ("protection", "vcl"): ("actor.deviation=0.05", "protection=vcl", "mask=dense"),
    ("protection", "agem"): ("protection={name: agem, rehearsal: 8}", *REHEARSED),
    ("protection", "cloning"): ("protection={name: cloning, rehearsal: 8}", *REHEARSED),
    ("protection", "pcgrad"): ("protection=pcgrad", "stream.together=2", "mask=dense"),
    ("renewal", "redo"): ("renewals=[{name: redo, every: 3, threshold: 0.9}]",),
    ("renewal", "sensitivity"): ("renewals=[{name: sensitivity, every: 2, until: 1}]",),
    ("renewal", "shrink_perturb"): ("renewals=[{name: shrink_perturb, every: 5}]",),
    ("renewal", "continual_backprop"): (
        "renewals=[{name: continual_backprop, every: 2, rate: 0.1, maturity: 2}]",
    ),
    ("agent", "sac"): (),
    ("agent", "td3"): ("agent={name: td3, critic: {hidden: [8, 8]}, batch_size: 8}",),
    ("agent", "ppo"): ("agent={name: ppo, num_envs: 3, epochs: 1}", *ON_POLICY),
    ("agent", "comps"): (
        "agent={name: comps, ppo: {num_envs: 3, epochs: 1}, meta: {updates: 3, batch_size: 8}}",
        *ON_POLICY,
        "mask=dense",
        "protection=none",
        "encoder=onehot",
    ),
}
SETTING = {"encoder": "encoder", "solver": "dictionary.solver", "update": "dictionary.update"}
SETTING |= {"mask": "mask", "protection": "protection", "memory": "memory"}
SETTING |= {"critic": "agent.critic.name"}
NAMES = [(kind, name) for kind in (*SETTING, "renewal", "agent") for name in KINDS[kind].names()]


def overrides(kind: str, name: str) -> tuple[str, ...]:
    """What makes a tiny recipe of a component."""
    chosen = (f"{SETTING[kind]}={name}",) if kind in SETTING else ()
    return (*SHORT, *chosen, *NEEDS.get((kind, name), ()))


def test_every_kind_that_a_run_consists_of_is_here():
    assert {*SETTING, "renewal", "agent", "stream", "recall", "launcher"} == set(KINDS)


def stop_at(patch, batch):
    """Sends SIGTERM while that batch is collected."""
    collect, count = Collection.collect, []

    def counted(self, steps):
        count.append(1)
        if len(count) == batch:
            os.kill(os.getpid(), signal.SIGTERM)
        return collect(self, steps)

    patch.setattr(Collection, "collect", counted)


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_a_stopped_run_is_not_lost_and_a_result_names_where_it_comes_from(kind, name, tmp_path):
    """Stopped in the second of two tasks, where it has more than two batches after updates."""
    if name == "celer":
        pytest.importorskip("celer")
    chosen = overrides(kind, name)
    recipe, out = tiny(*chosen), tmp_path / "undisturbed"
    summary = run(recipe, out, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        batches = recipe.steps_per_task // recipe.frames_per_batch
        stop_at(patch, batch=batches + max(1, batches - 1))
        with pytest.raises(RunStopped):
            run(recipe, tmp_path / "stopped", progress=False)
    resume(tmp_path / "stopped", progress=False)
    assert contents(tmp_path / "stopped") == contents(out)

    assert load(out / "recipe.yaml") == recipe
    assert summary["protocol"] == protocol_stamp(recipe)
    assert summary["protocol"]["formulas"] == {n: m.formula for n, m in METRICS.items()}
    assert (summary["seed"], summary["versions"]) == (recipe.seed, versions())
    assert json.loads((out / "summary.json").read_text()) == summary


@pytest.mark.parametrize("encoder", KINDS["encoder"].names())
@pytest.mark.parametrize(
    "solver", [s for s in KINDS["solver"].names() if KINDS["solver"].get(s).exact]
)
def test_the_text_alone_gives_every_task_its_prompt_back(encoder, solver, tmp_path):
    """With the `anchored` rule, after all tasks: the masks are equal, to the last unit."""
    if solver == "celer":
        pytest.importorskip("celer")
    names = f"encoder={encoder}", f"dictionary={{solver: {solver}, update: anchored, lmbda: 0.05}}"
    recipe = tiny(*SHORT, "stream.goals=[right, left, top]", "actor.hidden=[64, 64]", *names)
    run(recipe, tmp_path, progress=False)
    opened = cotasp.open_run(tmp_path, recall="exact")
    learner = opened._learner
    for place, task in enumerate(recipe.stream.make_tasks()):
        mask = learner.prompt_mask(opened.encoder([task.text])[0]) > 0
        assert torch.equal(mask, learner.actor.ownership.masks[place])
    assert loads(cotasp.dump(recipe)) == recipe
