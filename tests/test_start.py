"""What commands import: each third-party package costs a start up to a second, so that what a
command has no use for is named here.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cotasp.__main__ import main

MODELS = {"sentence_transformers", "transformers", "sklearn", "scipy.stats", "matplotlib"}
SIMULATORS = {"torchrl", "tensordict", "torch._dynamo", "gymnasium", "metaworld", "mujoco"}
TINY = ["steps_per_task=80", "stream.goals=[right, left]", "agent.warmup_steps=40"]
TINY += [
    "actor.hidden=[48, 40]",
    "evaluation.every=80",
    "agent.batch_size=16",
    "evaluation.average=1",
]


def imported(*argv: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    code = (
        "import json, sys\n"
        "from cotasp.__main__ import main\n"
        f"code = main({list(argv)!r})\n"
        "print(json.dumps([code, sorted(sys.modules)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("start") / "run"
    assert main(["run", "smoke", *TINY, "--quiet", "--out", str(out)]) == 0
    return str(out)


def test_a_known_sentence_needs_neither_torchrl_nor_a_language_model(directory):
    modules = imported("prompt", directory, "Park the car on the right.")
    assert "torch" in modules
    assert not modules & (MODELS | SIMULATORS)


def test_a_report_needs_no_torch(directory, tmp_path):
    modules = imported("report", directory, "--out", str(tmp_path / "report"))
    assert not modules & (MODELS | SIMULATORS | {"torch"})


def test_a_run_imports_the_simulator_of_its_stream_and_no_language_model(tmp_path):
    modules = imported("run", "smoke", *TINY, "--quiet", "--out", str(tmp_path / "run"))
    assert "torchrl" in modules
    # MuJoCo comes with TorchRL where it is installed
    assert not modules & (MODELS | {"metaworld", "tensorboard", "wandb", "PIL.ImageDraw"})


def test_lists_and_shows_need_nothing_heavy():
    for argv in (["list"], ["show", "smoke"], ["show", "quickstart"]):
        assert not imported(*argv) & (MODELS | SIMULATORS | {"torch", "numpy"})
