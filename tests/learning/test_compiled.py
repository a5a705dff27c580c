"""Compiled losses: the same learning, compiled once per width, and a way out without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from cotasp.continual.lockstep import in_lockstep
from cotasp.learning.stacked import update_together
from cotasp.modules.masks import Step
from tests.continual.runs import TINY
from tests.learning.test_stacked import state, work

pytestmark = [
    pytest.mark.slow,  # a compiler takes its time
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # inductor, of torch's own
]


@pytest.fixture(autouse=True)
def anew_in_float64():
    torch.compiler.reset()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def assert_same(one, other):
    assert one.updates == other.updates == 100
    theirs = state(other)
    for name, mine in state(one).items():
        torch.testing.assert_close(
            mine, theirs[name], rtol=1e-7, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_compiled_losses_teach_the_same_and_each_width_is_compiled_once():
    """Two tasks, two kinds of updates, masks that change: padding keeps the widths."""
    plain = work({}, 0)
    counters.clear()
    compiled = work({"compile": True}, 0)
    assert counters["stats"]["unique_graphs"] == 2, "the critics' and the actor's"
    assert_same(plain, compiled)
    assert plain.sub.network.hidden != compiled.sub.network.hidden == (48, 40)
    assert_same(
        work({"mask": Step(gradient="identity")}, 1),
        work({"mask": Step(gradient="identity"), "compile": True}, 1),
    )
    assert counters["stats"]["unique_graphs"] == 2, "another seed and rule, the same widths"


def test_stacked_seeds_are_compiled_together():
    changes = {"compile": True}
    seeds = (0, 1)
    counters.clear()
    stacked = in_lockstep([partial(work, changes, seed) for seed in seeds], update_together)
    # twice 2: tensordict, of whose state torch takes note, learns in the first updates
    assert counters["stats"]["unique_graphs"] <= 4
    for seed, together in zip(seeds, stacked):
        if isinstance(together, BaseException):
            raise together
        assert_same(work({}, seed), together)


def test_without_a_compiler_training_goes_on_uncompiled(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TINY)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "cotasp",
            "run",
            str(recipe),
            "agent.compile=true",
            "--out",
            str(tmp_path / "run"),
        ],
        env=os.environ
        | {"CXX": str(tmp_path / "missing"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "recipe.agent.compile: nothing can be compiled for this cpu" in done.stderr
    assert "compile=false" in done.stderr
    assert "done: " in done.stdout
