"""Methods of a package of its own: found by entry points, equal to the library's, bit for bit."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from cotasp import testing
from cotasp.continual.loop import resume, run
from cotasp.recipe import dump, loads
from cotasp.registry import KINDS
from tests.continual.runs import contents, stopped, tiny

pytestmark = pytest.mark.slow
SOURCE = Path(__file__).parent / "plugin" / "newcomers"
PIP = f"{sys.executable} -m pip install --no-deps --no-build-isolation --no-index --quiet".split()
BOTH = {  # of each newcomer, what to run it with; `newcomer_` in front of its name is the plug-in's
    "l2": ["protection={name: {}l2, weight: 0.1}"],
    "agem": ["protection={name: {}agem, rehearsal: 8}", "memory={name: shelf, size: 40}"],
    "packnet": ["mask={}packnet", "protection={name: freeze, by: tasks}"],
    "redo": ["renewals=[{name: {}redo, every: 5, threshold: 0.9}]"],
    "td3": [],
}
TD3 = (  # an agent's name replaces all its fields
    "agent={name: {}td3, critic: {hidden: [8, 8]}, batch_size: 8, n_step: 3, warmup_steps: 20,"
    " distillation_updates: 3, theta_updates: 8, code_updates: 2, buffer_size: 70}"
)
IMITATION = "protection={name: newcomer_imitation, weight: 10.0, states: 30, batch: 8}"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Where the package is installed."""
    folder = tmp_path_factory.mktemp("newcomers")
    shutil.copytree(SOURCE, folder / "project")  # building writes beside the source
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [*PIP, "--target", str(folder / "site"), str(folder / "project")]
    subprocess.run(command, check=True, env=quiet)
    return folder / "site"


@pytest.fixture(scope="module")
def _installed(site):
    """Installed for this process."""

    def forget() -> None:
        invalidate_caches()
        for registry in KINDS.values():
            vars(registry).pop("_plugins", None)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        forget()
        yield
    forget()


def overrides(name: str, prefix: str = "") -> list[str]:
    return [text.replace("{}", prefix) for text in BOTH[name] or [TD3]]


def test_they_import_public_names_of_cotasp_alone():
    """Of a package, what is in its `__all__`."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("cotasp") for alias in node.names), path
            elif isinstance(node, ast.ImportFrom) and node.module.startswith("cotasp"):
                package = import_module(node.module)
                assert {alias.name for alias in node.names} <= set(package.__all__), path


def test_the_command_line_lists_them_without_importing_them(site):
    code = (
        "import sys; from cotasp.__main__ import main; main(['list']); "
        "print({m.split('.')[0] for m in sys.modules} & {'torch', 'numpy', 'cotasp_newcomers'})"
    )
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("set()\n")
    for name in (*BOTH, "imitation"):
        assert f"  newcomer_{name}" in done.stdout


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("name", BOTH)
def test_a_newcomer_is_the_built_in_one_bit_for_bit_stopped_and_resumed(name, tmp_path):
    """The reference is the library's own method, never stopped."""
    recipe = tiny(*overrides(name, "newcomer_"))
    assert f"name: newcomer_{name}" in dump(recipe)
    assert loads(dump(recipe)) == recipe
    run(tiny(*overrides(name)), tmp_path / "own", progress=False)
    out = stopped(tmp_path / "newcomer", 155, *overrides(name, "newcomer_"))
    resume(out, progress=False)
    assert contents(out) == contents(tmp_path / "own")


@pytest.mark.usefixtures("_installed")
def test_a_foreign_protection_keeps_transitions_and_clones_behaviour(tmp_path):
    """With sub-networks of their own tasks, computed compactly."""
    chosen = ["mask=step", IMITATION]
    recipe = tiny(*chosen)
    assert recipe.agent.execution == "compact"
    summary = run(recipe, tmp_path / "through", progress=False)
    assert -1.0 <= summary["forgetting"] <= 1.0
    assert len(summary["per_task"]["forgetting"]) == 2
    out = stopped(tmp_path / "stopped", 155, *chosen)
    resume(out, progress=False)
    assert contents(out) == contents(tmp_path / "through")


@pytest.mark.usefixtures("_installed")
def test_it_keeps_the_contract_at_weight_0_too():
    """Equality with the library's speaks for the other newcomers."""
    made = KINDS["protection"].make("newcomer_imitation", weight=10.0, states=20, batch=8)
    testing.check_protection(made)
