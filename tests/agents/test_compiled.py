"""Compiled losses: the same learning, each size compiled once, and a way out where that fails."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from cotasp.agents import compiled, off_policy
from cotasp.agents.stacked import StackedUpdates
from cotasp.agents.updates import update_alone
from cotasp.continual.lockstep import in_lockstep
from cotasp.modules.masks import Step
from cotasp.modules.specs import CategoricalCritic, ResidualCritic
from tests.agents import test_state
from tests.agents.problems import train, transitions
from tests.agents.test_stacked import UPDATES, state, work
from tests.continual.runs import TINY

pytestmark = [
    pytest.mark.slow,  # a compiler takes its time
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # inductor, of torch's own
]


@pytest.fixture(autouse=True)
def anew_in_float64():
    torch.compiler.reset()
    compiled._compiled.cache_clear()
    counters.clear()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    compiled._compiled.cache_clear()


@pytest.fixture
def compiler():
    """Skips where there is none, which is no fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.compile(lambda x: x.exp() + 1.0)(torch.ones(8))
        except torch._dynamo.exc.TorchDynamoException as error:
            pytest.skip(f"no compiler: {error}")
    counters.clear()


def by_backend(backend, monkeypatch):
    """From now on functions are compiled by another backend, without a compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def assert_same(one, other):
    assert one.updates == other.updates == UPDATES
    theirs = state(other)
    for name, mine in state(one).items():
        torch.testing.assert_close(
            mine, theirs[name], rtol=1e-7, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.usefixtures("compiler")
def test_compiled_losses_teach_the_same():
    """Two tasks, two kinds of updates, padding; another seed and rule need no more compiling."""
    made = work({"compile": True}, 0)
    assert graphs() == 2, "the critics' and the actor's"
    plain = work({}, 0)
    assert plain.actor.sub.network.hidden != made.actor.sub.network.hidden == (48, 40)
    assert_same(plain, made)
    identity = {"mask": Step(gradient="identity")}
    assert_same(work(identity, 1), work(identity | {"compile": True}, 1))
    assert graphs() == 2


@pytest.mark.usefixtures("compiler")
def test_critics_by_histogram_are_compiled_too():
    changes = {"critic": CategoricalCritic((16,), bins=11), "ensemble": "mean"}
    assert_same(work(changes, 0), work(changes | {"compile": True}, 0))
    assert graphs() == 2


def test_critics_whose_gradients_are_autograds_stay_uncompiled():
    made = work({"compile": True, "critic": ResidualCritic(16)}, 0)
    assert graphs() == 0
    assert_same(work({"critic": ResidualCritic(16)}, 0), made)


def test_each_size_is_compiled_once(monkeypatch):
    """More sizes than torch's own limit, met again and again in two tasks of two seeds."""
    by_backend("aot_eager", monkeypatch)
    monkeypatch.setattr(off_policy, "width_multiple", lambda *given: 1)
    sizes = []

    def watch(learner, draws):
        if learner.phase == "theta":
            sizes.append(learner.actor.sub.network.hidden)
        return update_alone(learner, draws)

    changes = {"compile": True, "code_learning_rate": 0.05}
    for seed in (0, 1):
        work(changes, seed, meet=watch)
    assert 8 < len(set(sizes)) < len(sizes)
    assert graphs() == 2 * len(set(sizes))


@pytest.mark.usefixtures("compiler")
def test_stacked_seeds_are_compiled_together():
    changes, seeds = {"compile": True}, (0, 1)
    # torch compiles anew when tensordict has met a class of modules for the first time
    in_lockstep([partial(work, {}, seed) for seed in seeds], StackedUpdates())
    stacked = in_lockstep([partial(work, changes, seed) for seed in seeds], StackedUpdates())
    assert graphs() == 2
    for seed, together in zip(seeds, stacked):
        if isinstance(together, BaseException):
            raise together
        assert_same(work({}, seed), together)


@pytest.mark.usefixtures("compiler")
def test_a_loaded_learner_goes_on_bit_for_bit_and_compiled_anew():
    """In the middle of a task's updates of weights, as `test_state` does it uncompiled."""
    settings = {"compile": True}
    undisturbed = test_state.made(settings)
    train(undisturbed, 0, steps=40)
    undisturbed.start_task(1)
    for chunk in test_state.MOMENTS["theta"]:
        undisturbed.learn(transitions(chunk, seed=1000 + undisturbed.steps))
    resumed = test_state.loaded(settings, undisturbed)
    random = torch.get_rng_state()
    expected = test_state.go_on(undisturbed, undisturbed.steps)
    torch.compiler.reset()
    before = graphs()
    torch.set_rng_state(random)
    found = test_state.go_on(resumed, sum(test_state.MOMENTS["theta"]))
    assert graphs() > before
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    test_state.assert_same(undisturbed, resumed)


def test_where_compiling_fails_training_goes_on_uncompiled_after_one_warning(monkeypatch):
    """At the third size, hours into a run."""
    compiled_graphs = []

    def backend(graph, inputs):
        compiled_graphs.append(graph)
        if len(compiled_graphs) > 4:
            raise OSError("no space left")
        return graph

    by_backend(backend, monkeypatch)
    monkeypatch.setattr(off_policy, "width_multiple", lambda *given: 2)
    changes = {"code_learning_rate": 0.05}
    with pytest.warns(UserWarning, match="compile: .*_loss could not be compiled") as told:
        made = work(changes | {"compile": True}, 0)
    assert len(told) == 2, "of each function"
    assert all("no space left" in str(w.message) for w in told)
    assert len(compiled_graphs) == 6
    assert_same(work(changes, 0), made)


def test_nothing_piles_up_from_stretch_to_stretch():
    def kept(updates: int) -> int:
        for _ in range(updates):
            with compiled.loss_functions(settings.precision, settings.compiles):
                pass
        return len(contextvars.copy_context())

    settings = test_state.made({"compile": True}).settings
    assert kept(2) == kept(100)


def test_without_a_compiler_a_run_goes_on_uncompiled(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TINY)
    command = [sys.executable, "-m", "cotasp", "run", str(recipe), "agent.compile=true"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run")],
        env=os.environ
        | {"CXX": str(tmp_path / "missing"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: recipe.agent.compile: ") == 2, done.stderr
    assert "takes a C++ compiler" in done.stderr
    assert "compile=false" in done.stderr
    assert "done: " in done.stdout
