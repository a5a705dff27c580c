"""Documentation is code: blocks of README, CONTRIBUTING and docs/ are executed or checked.

Blocks of all pages run in one folder, in the order in which they stand:

- `python` is run, `yaml` read as a recipe; a block with a title is first written to a file of that
  name, which later blocks use; a title is all that other kinds of block may have;
- `console`: each line behind `$ ` is run, in brief where it trains; where a line
  `cotasp: error: ...` follows, the command must fail with exactly that, and a line
  `cotasp: warning: ...` must be in what it prints;
- `sh`: what installs is checked and not run;
- `text` is output, or a picture; with the title Output, exactly that of the block before.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cotasp.recipe import load, loads
from cotasp.registry import KINDS
from tests.warm import Warm

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
FIRST = [ROOT / "README.md", ROOT / "docs" / "index.md"]
PAGES = [*FIRST, ROOT / "CONTRIBUTING.md", *(page for page in DOCS if page not in FIRST)]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```\S", re.MULTILINE)
BLOCKS = [
    pytest.param(kind, title, body, id=f"{page.stem}-{number}-{kind}")
    for page in PAGES
    for number, (kind, title, body) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]
CODE = re.compile(r"`([^`\n]+)`")
OUTPUT = "Output"
EXECUTED = ("python", "yaml", "console")
WORDS_ONLY = {"glossary.md"}
DEVELOP = ".venv/bin/python -m "  # how CONTRIBUTING calls what is installed in a clone
BRIEF = [
    "steps_per_task=120",
    "agent.warmup_steps=40",
    "agent.distillation_updates=2",
    "evaluation.episodes=1",
]
QUICKSTART = "cotasp run recipes/quickstart.yaml"
SMOKE = "cotasp run recipes/smoke.yaml --quiet --out runs/smoke"  # in full: others use it
INSTALL = re.compile(r'(?:python3? -m )?pip install (?:-e )?"?(?:\.|cotasp)(?:\[([\w,]+)\])?"?')
INSTALL_PLUGIN = re.compile(r"python3? -m pip install -e '([\w-]+)\[test\]'")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """What a reader has: recipes, results and the Makefile, in a folder of their own."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("recipes", "results", "examples", "scripts"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    runner = Warm(tmp_path_factory.mktemp("warm") / "output")
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def done() -> set[str]:
    """Commands that have been run: several pages begin with the same ones."""
    return set()


@pytest.fixture(scope="module")
def last() -> dict[str, str]:
    """What the block before has printed."""
    return {}


def shell(command: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "title", "body"), BLOCKS)
def test_block(kind, title, body, checkout, warm, done, last):
    if "runs/smoke" in body and SMOKE not in done:
        done.add(SMOKE)
        run_cotasp(SMOKE, "", checkout, warm)
    if title and title != OUTPUT:
        (checkout / title).parent.mkdir(parents=True, exist_ok=True)
        (checkout / title).write_text(body, encoding="utf-8")
    if kind == "python":
        name = title or "block.py"
        (checkout / name).write_text(body, encoding="utf-8")
        code, output = warm(checkout, python=name)
        assert code == 0, output
        last["output"] = output
    elif kind == "yaml":
        name = title or "recipes/block.yaml"
        (checkout / name).write_text(body, encoding="utf-8")
        load(checkout / name)
    elif kind == "toml":  # the entry point of the package under tests/plugin
        assert body in (ROOT / "tests/plugin/solver/pyproject.toml").read_text(encoding="utf-8")
    elif kind == "console":
        for command, said in re.findall(r"^\$ (.*)\n(cotasp: \w+: .*\n)?", body, re.MULTILINE):
            if command not in done:
                done.add(command)
                run_console(command, said.strip(), checkout, warm, done)
    elif kind == "sh":
        for command in body.strip().splitlines():
            if command not in done:
                check_shell(command, checkout, warm)
    else:
        assert kind == "text"  # pictures and output
        assert title != OUTPUT or body == last.get("output", body)  # alone, by -k, nothing was


def run_console(command: str, said: str, folder: Path, warm: Warm, done: set[str]) -> None:
    """Runs a command, in brief where it trains; it must say what is given."""
    if command.startswith("python scripts/"):
        shell(command, folder)
        return
    target = re.fullmatch(r"make (\w+)", command)
    if target is None:
        run_cotasp(command, said, folder, warm)
        return
    # the real target in the environment at hand, which counts as installed; quickstart in brief
    venv = Path(sys.executable).parents[1]
    installed = f"VENV={venv} -o {venv}/.installed -o {venv}/.installed-dev"
    if target[1] == "quickstart":
        assert QUICKSTART in shell(f"make quickstart {installed} ARGS='{' '.join(BRIEF)}'", folder)
        done.add(QUICKSTART)  # the command of a reader without make
    else:  # `make test` is what runs this: only its recipe is looked at
        called = {"test": "-m pytest", "docs": "mkdocs build", "lint": "ruff"}[target[1]]
        assert called in shell(f"make -n {target[1]} {installed}", folder)


def run_cotasp(command: str, said: str, folder: Path, warm: Warm) -> None:
    words = shlex.split(command)
    environment = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    assert words.pop(0) == "cotasp", command
    if words[0] == "sweep":
        if "--seeds" in words:
            words[words.index("--seeds") + 1] = "1"
        words += BRIEF
    elif words[0] == "run" and "runs/smoke" not in command:
        words += BRIEF
    code, output = warm(folder, cotasp=words, environment=environment)
    assert (code != 0) == said.startswith("cotasp: error: "), output
    assert not said or said in output.splitlines(), output


def check_shell(command: str, folder: Path, warm: Warm) -> None:
    if command.startswith("cotasp run"):
        run_cotasp(f"{command} --out runs/plain --quiet", "", folder, warm)
    elif command.startswith(f"{DEVELOP}pytest tests/"):  # the tests run anyway
        words = shlex.split(command.removeprefix(DEVELOP))
        quiet = ["--collect-only", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code, output = warm(ROOT, module=[*words, *quiet])
        assert code == 0, output  # it fails where there is none
    elif ".venv" in command:  # takes minutes, and `make test` has done it
        made = shell("make --dry-run test", folder).replace("--quiet ", "")
        assert command in made.splitlines()
    elif match := INSTALL.fullmatch(command):  # what `make test` has just done
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = set(filter(None, (match[1] or "").split(",")))
        assert extras <= set(project["optional-dependencies"])
    else:  # a package that was written before; tests/test_new.py installs one of every kind
        match = INSTALL_PLUGIN.fullmatch(command) or re.fullmatch(
            r"python3? -m pytest ([\w-]+)", command
        )
        assert match, command
        assert (folder / match[1] / "pyproject.toml").is_file()


@pytest.fixture(scope="module")
def smoke(checkout, warm, done) -> Path:
    """The run directory of the smoke recipe, in full."""
    if SMOKE not in done:
        done.add(SMOKE)
        run_cotasp(SMOKE, "", checkout, warm)
    return checkout / "runs" / "smoke"


@pytest.mark.slow
def test_the_smoke_recipe_learns_and_forgets_nothing(smoke):
    summary = json.loads((smoke / "summary.json").read_text())
    assert summary["forgetting"] == 0.0
    assert summary["performance"] >= 0.9  # two of the three goals are opposites


@pytest.mark.slow
def test_every_number_of_a_run_is_explained(smoke):
    """Each key of its files, and each name in its tables, stands on their page."""
    run = smoke
    names: set[str] = set()
    for path in (run / "summary.json", run / "evaluations.json", run / "timing.json"):
        names |= set(json.loads(path.read_text()))
    for path in (run / "metrics.csv", run / "timing.csv"):
        rows = csv.DictReader(path.read_text().splitlines())
        names |= {re.sub(r"layer\d+", "layerN", row["name"].rpartition("/")[2]) for row in rows}
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    words = {word for code in CODE.findall(page) for word in re.split(r"[/, ]", code)}
    assert names - words == set()
    files = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert files <= words


def test_every_page_has_a_block_that_is_executed():
    lacking = []
    for page in DOCS:
        text = page.read_text(encoding="utf-8")
        assert len(BLOCK.findall(text)) == len(FENCE.findall(text)), page  # none is passed over
        if page.name not in WORDS_ONLY and not any(
            k in EXECUTED for k, _, _ in BLOCK.findall(text)
        ):
            lacking.append(page.name)
    assert lacking == []


def test_every_example_is_linked():
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "examples").glob("*.*")}
    assert names == set(re.findall(r"\(\.\./examples/([\w.]+)\)", page))


def test_the_page_of_solvers_quotes_the_plug_in_that_is_tested():
    source = (ROOT / "tests/plugin/solver/cotasp_ista/__init__.py").read_text(encoding="utf-8")
    code = source[source.index("from dataclasses") :]
    assert code.strip() in (ROOT / "docs/write/solver.md").read_text(encoding="utf-8")


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


def test_the_page_of_recipes_quotes_a_real_error():
    from cotasp.errors import RecipeError

    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        loads("dictionary: {lamda: 1}")
    assert f"cotasp: error: {caught.value}" in page
