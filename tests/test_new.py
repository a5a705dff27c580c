"""`cotasp new plugin`: every kind's package passes its own test, by its name, once installed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from cotasp.__main__ import main
from cotasp.commands import new
from cotasp.registry import KINDS

PIP = f"{sys.executable} -m pip install --no-deps --no-build-isolation --no-index --quiet".split()
TRAINED = ("agent", "mask", "memory", "renewal")  # for seconds, and so does `protection`
PUBLIC = ("KINDS", "RecipeError")  # of `cotasp.registry` and `cotasp.errors`


def written(folder: Path, kind: str) -> Path:
    assert main(["new", "plugin", f"acme-{kind}", "--kind", kind]) == 0
    return folder / f"acme-{kind}"


def test_every_kind_has_a_template():
    templates = Path(new.__file__).parent / "templates"
    assert sorted(path.stem for path in templates.glob("[!_]*.py")) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_every_kind_is_sound(kind, tmp_path, monkeypatch, capsys):
    """It compiles, uses public names alone, and says what to do next."""
    monkeypatch.chdir(tmp_path)
    folder = written(tmp_path, kind)
    name = f"acme_{kind}"
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"done: acme-{kind}; next: python -m pip install -e 'acme-{kind}[test]' "
        f"&& python -m pytest acme-{kind}"
    )
    paths = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert paths == {"pyproject.toml", "README.md", f"src/{name}.py", f"tests/test_{name}.py"}
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("cotasp."):
                public = import_module(node.module).__dict__.get("__all__", PUBLIC)
                assert {alias.name for alias in node.names} <= set(public), path
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert "Example" not in text
            if path.parent.name != "src":  # a module may have f-strings
                assert not re.search(r"\{\w+\}", text), path
    project = (folder / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.optional-dependencies]\ntest = ["pytest' in project
    point = f'[project.entry-points."cotasp.{kind}"]\n{name} = "{name}:Acme{kind.capitalize()}"\n'
    assert point in (folder / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_generated_tests_pass_and_recipes_take_the_components(tmp_path, monkeypatch):
    """In one process; of those that train to be judged, one."""
    monkeypatch.chdir(tmp_path)
    folders = {kind: written(tmp_path, kind) for kind in KINDS}
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    sources = [f"./{folder.name}" for folder in folders.values()]
    subprocess.run([*PIP, "--target", "site", *sources], check=True, env=quiet)
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root), str(tmp_path / "site")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    tested = [f"{folder.name}" for kind, folder in folders.items() if kind not in TRAINED]
    by_name = "{0}/tests/test_{1}.py::test_recipes_find_it_by_name"
    tested += [by_name.format(folders[k].name, f"acme_{k}") for k in TRAINED]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [*command, *tested], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert f"{2 * len(KINDS) - len(TRAINED)} passed" in done.stdout
    overrides = re.findall(r"^cotasp run smoke '(.*)'$", _readmes(folders), re.MULTILINE)
    assert len(overrides) == len(KINDS) - 1  # a launcher is named by `cotasp sweep`
    code = f"from cotasp.recipe import load\nfor o in {overrides}: load('smoke', [o])"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def _readmes(folders: dict[str, Path]) -> str:
    return "\n".join((f / "README.md").read_text(encoding="utf-8") for f in folders.values())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Mine", "NAME: expected at most 60 lower-case letters, digits and single hyphens"),
        ("a--b", "NAME: expected"),
        ("3d", "NAME: expected"),
        ("../mine", "NAME: expected"),
        ("mine\n", "NAME: expected"),
        ("x" * 61, "NAME: expected"),
        ("topk", "NAME: the mask 'topk' is there already, as cotasp.modules.masks:TopK; choose"),
        ("torch", "NAME: 'torch' is a module that is there already; choose another name"),
        ("class", "NAME: 'class' is a word of Python; choose another name, as my-class"),
    ],
)
def test_bad_names_are_refused_in_a_sentence(name, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "plugin", name, "--kind", "mask"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"cotasp: error: {told}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind", "cls"),
    [
        ("task", "stream", "TaskStream"),
        ("twins", "critic", "TwinsCritic"),
        ("random-encoder", "recall", "RandomEncoderRecall"),
        ("true", "mask", "TrueMask"),
        ("my-task", "stream", "MyTask"),
    ],
)
def test_a_class_does_not_hide_what_its_file_imports(name, kind, cls):
    module = new.package(name, kind)[f"src/{new.module_name(name)}.py"]
    assert f"class {cls}:" in module
    compile(module, name, "exec")


def test_an_existing_folder_stays_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("kept")
    assert main(["new", "plugin", "mine", "--kind", "mask"]) == 1
    told = "cotasp: error: mine: is there already; choose another name\n"
    assert capsys.readouterr().err == told
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["precious"]


def test_a_kind_that_there_is_not(capsys):
    assert main(["new", "plugin", "mine", "--kind", "maks"]) == 2
    assert "argument --kind: invalid choice: 'maks'" in capsys.readouterr().err
