"""Documentation is code: blocks of README, CONTRIBUTING and docs/ are executed or checked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cotasp.recipe import load, loads
from cotasp.registry import KINDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(kind, body, id=f"{page.stem}-{number}-{kind}")
    for page in PAGES
    for number, (kind, body) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]
DEVELOP = ".venv/bin/python -m "  # how CONTRIBUTING calls what is installed in a clone
BRIEF = (
    "steps_per_task=120 agent.warmup_steps=40 agent.distillation_updates=2 evaluation.episodes=1"
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """What a reader has: recipes, results and the Makefile, in a folder of their own."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("recipes", "results"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def shell(command: str, folder: Path) -> str:
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "body"), BLOCKS)
def test_block(kind, body, checkout):
    if kind == "python":
        (checkout / "block.py").write_text(body)
        shell(f"{sys.executable} -W error::UserWarning block.py", checkout)
    elif kind == "yaml":
        (checkout / "recipes" / "block.yaml").write_text(body)
        load(checkout / "recipes" / "block.yaml")
    elif kind == "toml":  # the entry point of the package under tests/plugin
        assert body in (ROOT / "tests/plugin/solver/pyproject.toml").read_text(encoding="utf-8")
    elif kind == "console":
        for command in re.findall(r"^\$ (.*)$", body, re.MULTILINE):
            run_console(command, checkout)
    elif kind == "sh":
        for command in body.strip().splitlines():
            if command.startswith("cotasp run"):
                shell(f"{command} {BRIEF} --out runs/plain --quiet", checkout)
            elif command.startswith(f"{DEVELOP}pytest tests/"):  # the tests run anyway
                words = f"{sys.executable} -m {command.removeprefix(DEVELOP)}"
                shell(f"{words} --collect-only", ROOT)  # fails where there is none
            elif ".venv" in command:  # takes minutes, and `make test` has done it
                made = shell("make --dry-run test", checkout).replace("--quiet ", "")
                assert command in made.splitlines()
            else:  # installing: what `make test` has just done; here only that pip can parse it
                assert command == "python3 -m pip install -e ."
    else:
        assert kind == "text"  # pictures and output


def run_console(command: str, folder: Path) -> None:
    target = re.fullmatch(r"make (\w+)", command)
    if target is None:
        assert command.startswith("cotasp "), command
        if command.startswith("cotasp sweep"):
            command = re.sub(r"--seeds \d+", "--seeds 1", f"{command} {BRIEF}")
        shell(command, folder)
        return
    # the real target in the environment at hand, which counts as installed; quickstart in brief
    venv = Path(sys.executable).parents[1]
    installed = f"VENV={venv} -o {venv}/.installed -o {venv}/.installed-dev"
    if target[1] == "quickstart":
        shell(f"make quickstart {installed} ARGS='{BRIEF}'", folder)
    else:  # `make test` is what runs this: only its recipe is looked at
        assert "-m pytest" in shell(f"make -n {target[1]} {installed}", folder)


def test_the_readme_quotes_the_plug_in_that_is_tested():
    source = (ROOT / "tests/plugin/solver/cotasp_ista/__init__.py").read_text(encoding="utf-8")
    code = source[source.index("from dataclasses") :]
    assert code.strip() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_contributing_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:cotasp|tests)/[\w/]+\.py)`", text.replace("/VERB.py", "/run.py"))
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_contributing_has_a_row_for_every_kind():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == set(KINDS)
    for kind, row in rows.items():
        module = KINDS[kind].protocol.partition(":")[0]
        assert f"`{module.replace('.', '/')}.py`" in row


def test_the_readme_quotes_a_real_error():
    from cotasp.errors import RecipeError

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        loads("dictionary: {lamda: 1}")
    assert f"cotasp: error: {caught.value}" in readme
