"""Inputs of users that once failed: command lines, files, settings of Python and torch."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

import cotasp
from cotasp.__main__ import main
from cotasp.continual.machine import check_logger
from cotasp.dictionaries import SparseEncode
from cotasp.errors import RecipeError
from cotasp.recipe import dump, load, loads
from cotasp.registry import KINDS, Registry
from tests.continual.runs import TINY

BRIEF = ["steps_per_task=40", "evaluation.every=40"]


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    """A recipe in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_nothing_is_imported_from_the_current_folder(recipe):  # case 5
    for name in ("torch.py", "runpy.py", "cotasp.py"):
        (recipe.parent / name).write_text("open('ran', 'w')")
    command = (
        "import sys; sys.path.remove(''); from cotasp.__main__ import main; "
        f"sys.exit(main(['sweep', 'tiny.yaml', *{BRIEF}, '--quiet', '--out', 'sweep']))"
    )
    root = str(Path(cotasp.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert "done: 1 of 1 trials" in done.stdout, done.stdout + done.stderr
    assert not (recipe.parent / "ran").exists()


@pytest.mark.parametrize("out", [".", "link", "empty"])
def test_an_empty_folder_is_a_place_for_a_run(out, recipe, monkeypatch):  # case 9
    folder = recipe.parent / "new"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / ".." / "real").mkdir()
    if out == "empty":
        (recipe.parent / "empty").mkdir()
    if out == "link":
        (recipe.parent / "link").symlink_to("real")
    path = out if out == "." else f"../{out}"
    assert main(["run", "../tiny.yaml", *BRIEF, "--quiet", "--out", path]) == 0
    assert (Path(path) / "summary.json").is_file()
    assert main(["run", "../tiny.yaml", *BRIEF, "--quiet", "--out", path]) == 1


@pytest.mark.parametrize(
    ("text", "seed"), [("010", 10), ("08", 8), ("1_0", 10), ("+5", 5), ("5.0", 5), ("1e1", 10)]
)
def test_numbers_are_decimal_everywhere(text, seed, recipe, capsys):  # case 10
    assert loads(f"seed: {text}").seed == seed
    assert load(recipe, [f"seed={text}"]).seed == seed
    if text.isdecimal():
        assert main(["show", str(recipe), "--seed", text]) == 0
        assert f"seed: {seed}\n" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0x10", "0b11", "0o17", "1:30"])
def test_other_numbers_are_refused(text):
    with pytest.raises(RecipeError, match="expected an integer, got"):
        loads(f"seed: {text}")
    with pytest.raises(RecipeError, match="expected a finite number, got"):
        loads(f"agent: {{tau: {text}}}")


@pytest.mark.parametrize("text", ["010", "08", "0x10", "1:30", "1e3", "yes", "~", "0b1", "1_0"])
def test_a_text_that_looks_like_a_number_stays_a_text(text):
    recipe = loads(f"question: '{text}'")
    assert loads(dump(recipe)) == recipe


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_cannot_be_shown_is_escaped(encoding, recipe):  # case 11
    recipe.write_text(f"question: Öffne \N{EN DASH} die Tür\n{TINY}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "cotasp", "show", str(recipe)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u2013 die T" in done.stdout


def test_other_default_dtypes_and_devices_are_refused(tmp_path):  # case 12
    for name, setting, told in (
        ("dtype", torch.float64, r"expected torch\.float32, got torch\.float64, with"),
        ("device", "meta", r"expected cpu, got meta; call torch\.set_default_device\('cpu'\)"),
    ):
        set_default = getattr(torch, f"set_default_{name}")
        set_default(setting)
        try:
            with pytest.raises(RecipeError, match=told):
                cotasp.run(loads(TINY), tmp_path / "run", progress=False)
        finally:
            set_default(torch.float32 if name == "dtype" else None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("batch", [(0,), (2, 0), (3,), ()])
def test_any_batch_is_encoded(batch):  # case 14
    module = SparseEncode(torch.eye(4), lmbda=0.5, certificate=True)
    given = TensorDict(embedding=torch.ones(*batch, 4), batch_size=batch)
    coded = module(given)
    assert coded["code"].shape == (*batch, 4)
    assert coded["code_kkt"].shape == (*batch, 1)


def test_a_logger_without_a_key_is_refused_before_anything_is_written(monkeypatch, recipe):  # 17
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(recipe.parent))
    monkeypatch.setattr("cotasp.continual.machine.find_spec", lambda name: name)
    with pytest.raises(RecipeError, match="WANDB_MODE=offline"):
        check_logger(loads("logger: wandb"))
    assert main(["run", str(recipe), "logger=wandb", "--out", "run"]) == 2
    assert not Path("run").exists()
    (recipe.parent / ".netrc").write_text("machine api.wandb.ai login user password 1")
    (recipe.parent / ".netrc").chmod(0o600)  # else it is not read
    check_logger(loads("logger: wandb"))
    (recipe.parent / ".netrc").unlink()
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_logger(loads("logger: wandb"))


def test_a_cell_that_registers_may_run_twice():  # case 19
    registry = Registry("mask", "cotasp.modules.masks:MaskPolicy", {})
    for number in (1, 2):
        registry.register("mine", dataclass(frozen=True)(type("Mine", (), {"number": number})))
    assert registry.get("mine").number == 2


@pytest.mark.filterwarnings("ignore:recipe.agent.gamma")
def test_run_takes_the_path_of_a_recipe(recipe):  # case 20
    recipe.write_text(TINY.replace("steps_per_task: 100", "steps_per_task: 40"))
    for given, out in ((str(recipe), "one"), (recipe, "two")):
        assert cotasp.run(given, out, progress=False)["steps"] == 80
    with pytest.raises(RecipeError, match=r"expected a Recipe or the path of its file, got dict"):
        cotasp.run({"seed": 0}, "three")


def test_subclasses_of_built_in_components_in_a_module_of_ones_own(tmp_path, monkeypatch):  # 21
    (tmp_path / "foreign.py").write_text(
        "from dataclasses import dataclass\n"
        "from cotasp.registry import KINDS\n"
        + "".join(
            f"@dataclass(frozen=True)\nclass My{name}(KINDS[{kind!r}].get({name!r})):\n"
            f"    mine: int = 3\n"
            f"KINDS[{kind!r}].register('my_{kind}_{name}', My{name})\n"
            for kind, name in COMPONENTS
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    for kind in {kind for kind, _ in COMPONENTS}:
        monkeypatch.setattr(KINDS[kind], "_targets", dict(KINDS[kind]._targets))
    import foreign  # noqa: F401

    from cotasp.schema import fields_of

    for kind, name in COMPONENTS:
        own = fields_of(KINDS[kind].get(f"my_{kind}_{name}"))
        assert own == fields_of(KINDS[kind].get(name)) | {"mine": (int, 3)}
    recipe = loads("agent: {name: my_agent_sac, critic: {hidden: [4]}, mine: 4}")
    assert loads(dump(recipe)) == recipe


COMPONENTS = [
    ("agent", "sac"),
    ("stream", "gymnasium"),
    ("stream", "metaworld"),
    ("mask", "step"),
    ("solver", "lars"),
    ("protection", "ewc"),
]


def test_shipped_recipes_are_found_by_name(tmp_path, monkeypatch):  # case 26
    monkeypatch.chdir(tmp_path)
    for name in ("smoke", "smoke.yaml", "recipes/smoke.yaml"):
        assert load(name) == load(Path(cotasp.__file__).parents[1] / "recipes/smoke.yaml")
    with pytest.raises(RecipeError, match=r"smoek: no such file; did you mean smoke\?"):
        load("smoek")
    Path("smoke").write_text("seed: 7")
    assert load("smoke").seed == 7


def test_steps_alone_make_a_recipe(recipe, capsys):  # case 24
    recipe.write_text("steps_per_task: 3000")
    assert main(["show", str(recipe)]) == 0
    assert "warmup_steps: 300\n" in capsys.readouterr().out


@pytest.mark.parametrize("stream", ["point", "metaworld", "gymnasium"])
def test_a_recipe_to_begin_with_can_be_shown_and_is_never_overwritten(
    stream, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine.yaml", "--stream", stream]) == 0
    assert "next: cotasp show mine.yaml, then cotasp run mine.yaml" in capsys.readouterr().out
    recipe = load("mine.yaml")
    assert recipe.stream.make_tasks()
    if stream == "point":  # which learns what the documented recipe learns
        assert replace(recipe, question="") == replace(load("smoke"), question="")
    before = Path("mine.yaml").read_bytes()
    assert main(["init", "mine.yaml"]) == 1
    assert "is there already; name another file" in capsys.readouterr().err
    assert Path("mine.yaml").read_bytes() == before
    assert main(["init", "absent/mine.yaml"]) == 1
