"""The command line: what it prints, its exit codes, and that bad input leaves nothing behind."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cotasp
from cotasp.__main__ import main, verb
from cotasp.commands import VERBS
from cotasp.commands._common import set_threads
from cotasp.errors import CotaspError, RecipeError, RunError
from cotasp.recipe import dump, load, loads
from cotasp.registry import KINDS

ROOT = Path(__file__).parents[1]
SMOKE = str(ROOT / "recipes" / "smoke.yaml")
TINY = """
stream: {name: point, goals: [left]}
encoder: random
actor: {hidden: [16]}
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A recipe file, alone in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def files(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def complaint(capsys) -> str:
    """What stands on standard error: one line, and no traceback."""
    text = capsys.readouterr().err
    assert text.startswith("cotasp: error: ")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text.removeprefix("cotasp: error: ").rstrip("\n")


# -- verbs --------------------------------------------------------------------------------


def test_each_file_of_commands_is_a_verb_of_the_table():
    files = (ROOT / "cotasp" / "commands").glob("[!_]*.py")
    assert sorted(path.stem for path in files) == sorted(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_adds_the_parser_of_its_own_name_and_can_be_run(name, capsys):
    subparsers = argparse.ArgumentParser().add_subparsers()
    verb(name).add_arguments(subparsers)
    assert list(subparsers.choices) == [name]
    assert callable(verb(name).main)
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert "--debug" in capsys.readouterr().out


# -- show and list ------------------------------------------------------------------------


def test_show_prints_the_resolved_recipe(capsys):
    assert main(["show", SMOKE]) == 0
    assert loads(capsys.readouterr().out) == load(SMOKE)


@pytest.mark.parametrize(
    "argv",
    [
        ["show", SMOKE, "mask=topk", "mask.k=9", "--seed", "3"],
        ["show", SMOKE, "--seed", "3", "mask=topk", "mask.k=9"],
        ["show", SMOKE, "mask=topk", "--seed", "3", "mask.k=9"],
        ["show", "--seed=3", SMOKE, "mask=topk", "mask.k=9"],
    ],
)
def test_overrides_may_stand_before_and_after_options(argv, capsys):
    assert main(argv) == 0
    assert capsys.readouterr().out == dump(load(SMOKE, ["mask=topk", "mask.k=9", "seed=3"]))


def test_list_names_every_component_once_with_its_description(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip(":") for line in lines if not line.startswith(" ")] == list(KINDS)
    for registry in KINDS.values():
        for name in registry.names():
            width = max(map(len, registry.names()))
            assert f"  {name:<{width}} {registry.describe(name)}" in lines


def test_list_of_a_kind_shows_its_fields_as_they_stand_in_a_recipe(capsys):
    assert main(["list", "mask"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mask:"
    place = [line.split()[0] for line in lines].index("topk")
    assert [line.strip() for line in lines[place + 1 : place + 3]] == [
        "k: 128  # an integer, at least 1",
        "gradient: clipped  # clipped or identity",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_listed(kind, capsys):
    assert main(["list", kind]) == 0
    assert capsys.readouterr().out.startswith(f"{kind}:\n")


@pytest.fixture
def broken_plugin(tmp_path, monkeypatch):
    (tmp_path / "acme_broken.py").write_text("raise RuntimeError('boom')")
    info = tmp_path / "acme_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cotasp.mask]\nbroken = acme_broken:Mask\n")
    monkeypatch.syspath_prepend(tmp_path)
    vars(KINDS["mask"]).pop("_plugins", None)
    yield
    vars(KINDS["mask"]).pop("_plugins", None)


@pytest.mark.usefixtures("broken_plugin")
def test_a_broken_plug_in_is_listed_and_refused_when_named(capsys):
    for argv in (["list"], ["list", "mask"]):
        assert main(argv) == 0
        said = capsys.readouterr().out
        assert re.search(r"^  broken +from acme_broken:Mask$", said, re.MULTILINE)
    assert "cannot be used: mask 'broken' (entry point 'acme_broken:Mask') failed to import" in said
    assert main(["show", SMOKE, "mask=broken"]) == 2
    assert complaint(capsys).startswith(
        "recipe.mask: mask 'broken' (entry point 'acme_broken:Mask'"
    )
    assert main(["show", SMOKE]) == 0


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["list"], 0),
        (["list", "solver"], 0),
        (["show", SMOKE], 0),
        (["--help"], 0),
        (["run", "--help"], 0),
        (["doctor", "--help"], 0),
        (["new", "plugin", "torch", "--kind", "mask"], 2),
        (["show", SMOKE, "agent.warmup_steps=1500"], 2),
        (["run", SMOKE, "agent.warmup_steps=1500"], 2),
        (["run", SMOKE, "agent.n_step=31", "--quiet"], 2),
        (["sweep", SMOKE, "--axis", "agent.n_step=5,31"], 2),
        (["show", "comps_point", "stream.count=1"], 2),
    ],
)
def test_answers_at_once_since_nothing_heavy_is_imported(argv, expected):
    """`benchmarks/start.py` says how long it takes."""
    code = f"""
import sys
from cotasp.__main__ import main
try:
    code = main({argv!r})
except SystemExit as end:
    code = end.code
heavy = {{"torch", "numpy", "sklearn", "gymnasium", "metaworld"}} & set(sys.modules)
assert code == {expected} and not heavy, (code, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_module_and_the_script_are_the_same_command():
    run = subprocess.run(
        [sys.executable, "-m", "cotasp", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"cotasp {cotasp.__version__}\n"
    bad = subprocess.run([sys.executable, "-m", "cotasp", "lst"], capture_output=True, text=True)
    assert bad.returncode == 2
    assert bad.stderr.count("\n") == 1


def test_a_reader_that_stops_early_gets_no_complaint():
    code = f"{sys.executable} -c 'import sys; from cotasp.__main__ import main; sys.exit(main())'"
    done = subprocess.run(
        ["bash", "-c", f"{code} show {SMOKE} | true"], capture_output=True, text=True
    )
    assert done.stderr == ""


# -- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND; see cotasp --help"),
        (["lst"], "argument COMMAND: invalid choice: 'lst'"),
        (["list", "solvers"], "unknown kind 'solvers'. Did you mean 'solver'?"),
        (["list", "zzz"], "unknown kind 'zzz'. Known: agent, critic, encoder, launcher"),
        (["list", "mask", "step"], "unrecognized arguments: step; see cotasp list --help"),
        (["show"], "the following arguments are required: RECIPE"),
        (["show", "tiny.yaml", "--sede", "3"], "unrecognized arguments: --sede 3"),
        (["show", "tiny.yaml", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["show", "tiny.yaml", "--seed", "-1"], "Recipe.seed: expected in [0, 2^31), got -1"),
        (["evaluate", "x", "--mode", "slow"], "argument --mode: invalid choice: 'slow'"),
        (["show", "tinny.yaml"], "tinny.yaml: no such file; did you mean tiny.yaml?"),
        (["sweep", "tiny.yaml", "--seeds", "0"], "--seeds: expected at least 1 or a list of seeds"),
        (["show", "."], ".: cannot read the recipe: Is a directory"),
        (["show", "tiny.yaml", "seed"], "override 'seed': expected key=value"),
        (["run", "none/r.yaml"], "none/r.yaml: no such file; check the path"),
        (["run", "tiny.yaml", "mask.k=3"], "recipe.mask: unknown key 'k'. Known: gradient."),
        (["run", "tiny.yaml", "encoder=sbrt"], "recipe.encoder: unknown encoder 'sbrt'. Did you"),
        (["run", "tiny.yaml", "seed=abc"], "recipe.seed: expected an integer, got 'abc'"),
        (["run", "tiny.yaml", "seed=!!python/name:os.system"], "override 'seed=!!python/name:os"),
        (
            ["run", "tiny.yaml", "mask={name: topk, k: 17}"],
            "recipe.mask.k: expected at most 16, the smallest width in actor.hidden, got 17",
        ),
        *(
            (
                [verb, "tiny.yaml", "steps_per_task=2000", *more],
                f"{before}recipe.agent.{field}: expected {told}",
            )
            for verb, before in (("show", ""), ("run", ""), ("sweep", "sweep: all: "))
            for field, more, told in (
                (
                    "warmup_steps",
                    ["agent.warmup_steps=2000"],
                    "fewer than the 2000 steps_per_task, got 2000: nothing",
                ),
                ("n_step", ["agent={warmup_steps: 0, n_step: 31}"], "at most the 30 actions of an"),
            )
        ),
        (
            ["run", "tiny.yaml", "stream={name: metaworld, tasks: [push-v9]}"],
            "recipe.stream.tasks[0].env: expected a Meta-World v3 task, got 'push-v9'. Did you",
        ),
        (
            ["run", "tiny.yaml", "stream={name: metaworld, tasks: [{env: push-v3, text: ''}]}"],
            "recipe.stream.tasks[0].text: expected a text that describes the task, got ''",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(tiny, argv, message, capsys):
    before = files(tiny)
    for out in [[], ["--out", "deep/out"]] if argv[:1] == ["run"] else [[]]:
        assert main([*argv, *out]) == 2
        assert complaint(capsys).startswith(message)
        assert files(tiny) == before


@pytest.mark.parametrize("device", ["cuda:99", "mps", "xpu:99"])
def test_a_device_that_is_not_there_is_found_before_anything_is_written(device, tiny, capsys):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is there")
    before = files(tiny)
    assert main(["run", "tiny.yaml", f"device={device}", "--quiet"]) == 2
    told = complaint(capsys)
    assert told.startswith(f"recipe.device: {device} cannot be used here (")
    assert told.endswith("run with device=cpu, or where there is one")
    assert len(told) < 200
    assert files(tiny) == before


@pytest.mark.parametrize("logger", ["tensorboard", "wandb", "mlflow"])
def test_a_logger_that_is_not_there_is_found_before_anything_is_written(
    tiny, logger, monkeypatch, capsys
):
    before = files(tiny)
    monkeypatch.setattr("cotasp.continual.machine.find_spec", lambda name: None)
    assert main(["run", "tiny.yaml", f"logger={logger}", "--quiet"]) == 2
    assert complaint(capsys).startswith(f"recipe.logger: {logger} is not installed; pip install")
    assert files(tiny) == before


def test_an_environment_without_box_actions_is_found_before_anything_is_written(tiny, capsys):
    before = files(tiny)
    stream = "stream={name: gymnasium, tasks: [{env: CartPole-v1, text: Balance the pole.}]}"
    assert main(["run", "tiny.yaml", stream, "--quiet"]) == 2
    assert "Box" in complaint(capsys)
    assert files(tiny) == before


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_what_is_there_is_not_overwritten(tiny, kind, capsys):
    if kind == "directory":
        (tiny / "out" / "checkpoints").mkdir(parents=True)
        (tiny / "out" / "recipe.yaml").write_text("precious")
    else:
        (tiny / "out").write_text("precious")
    before = files(tiny)
    assert main(["run", "tiny.yaml", "--out", "out", "--quiet"]) == 1
    remedy = "there is a run already; go on with it by `cotasp resume out`, choose"
    message = {"directory": remedy, "file": "expected a directory or nothing there, found a file"}
    assert complaint(capsys).startswith(f"out: {message[kind]}")
    assert files(tiny) == before


def test_evaluate_and_resume_need_a_run(tiny, capsys):
    assert main(["evaluate", "nowhere"]) == 1
    assert complaint(capsys) == "nowhere: no such directory; check the path"
    assert main(["resume", "."]) == 1
    assert complaint(capsys) == ".: holds no run; name a directory with a recipe.yaml in it"
    assert list(files(tiny)) == ["tiny.yaml"]


# -- what goes wrong inside ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RecipeError("a: expected b,\n  got c"), 2, "a: expected b, got c"),
        (RunError("step 3: not finite"), 1, "step 3: not finite"),
        (ZeroDivisionError("by zero"), 1, "ZeroDivisionError: by zero (rerun with --debug)"),
    ],
)
def test_errors_are_one_line_unless_debugging(error, code, message, monkeypatch, capsys):
    def fail(arguments):
        raise error

    monkeypatch.setattr("cotasp.commands.list.main", fail)
    assert main(["list"]) == code
    assert complaint(capsys) == message
    for argv in (["--debug", "list"], ["list", "--debug"]):
        with pytest.raises(type(error)):
            main(argv)


def test_a_display_that_mujoco_does_not_know_is_named(tiny):
    command = [sys.executable, "-m", "cotasp", "run", "tiny.yaml"]
    environment = {**os.environ, "MUJOCO_GL": "nonsense"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("cotasp: error: MuJoCo cannot be imported with MUJOCO_GL=nonsense (")
    assert "unset MUJOCO_GL" in line
    assert list(files(tiny)) == ["tiny.yaml"]


def test_ctrl_c(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("cotasp.commands.list.main", interrupt)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "cotasp: interrupted\n"


def test_a_warning_is_one_line_and_only_in_the_command(monkeypatch, capsys):
    def warn(arguments):
        shown = warnings.formatwarning(UserWarning("not converged"), UserWarning, "file.py", 3)
        print(shown, end="", file=sys.stderr)
        coloured = UserWarning("\x1b[33mWARN: Box\x1b[0m")  # as Gymnasium's are
        print(warnings.formatwarning(coloured, UserWarning, "file.py", 3), end="", file=sys.stderr)

    usual = warnings.formatwarning
    monkeypatch.setattr("cotasp.commands.list.main", warn)
    assert main(["list"]) == 0
    assert capsys.readouterr().err == (
        "cotasp: warning: not converged\ncotasp: warning: WARN: Box\n"
    )
    assert warnings.formatwarning is usual


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["sweep", "tiny.yaml", "--only", ""], "only: expected something, got ''"),
        (["evaluate", "runs", "--task", ""], "task: expected something, got ''"),
        (["run", "tiny.yaml", "--out", ""], "out: expected something, got ''"),
        (["report", ""], "runs: expected something, got ''"),
        (
            ["sweep", "tiny.yaml", "--quiet", "seed=1", "--jobs", "1"],
            "unrecognized arguments: --jobs 1; see cotasp sweep --help",
        ),
        (["run", "run"], "run: expected a recipe, got the directory of a run; its recipe is"),
        (["resume", "tiny.yaml"], "tiny.yaml: expected the directory of a run, found a file"),
        (["report", "tiny.yaml", "--out", "tiny.yaml"], "tiny.yaml: expected a directory or"),
    ],
)
def test_what_is_empty_or_of_another_kind_is_named(tiny, capsys, argv, message):
    (tiny / "run").mkdir()
    (tiny / "run" / "recipe.yaml").write_text("seed: 1\n")
    before = files(tiny)
    assert main(argv) in (1, 2)
    assert complaint(capsys).startswith(message)
    assert files(tiny) == before


def test_a_report_is_not_written_over_a_run(tiny, capsys):
    (tiny / "run").mkdir()
    (tiny / "run" / "recipe.yaml").write_text("seed: 1\n")
    before = files(tiny)
    for argv in (["report", "run"], ["compare", "run", "run"]):
        assert main([*argv, "--out", "run"]) == 1
        assert complaint(capsys).startswith("run: holds a run, whose files would be lost")
    assert files(tiny) == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda recipe: cotasp.run(recipe, None), "run directory: expected a path, got None"),
        (lambda recipe: cotasp.open_run(3), "run directory: expected a path, got 3"),
        (lambda recipe: cotasp.resume(None), "run directory: expected a path, got None"),
        (lambda recipe: replace(recipe, seed="x"), r"Recipe\.seed: expected an integer, got 'x'"),
        (
            lambda recipe: replace(recipe.evaluation, mode="x"),
            r"Evaluation\.mode: expected deterministic or stochastic, got 'x'",
        ),
        (lambda recipe: cotasp.load("smoke", [3]), "override: expected key=value"),
    ],
)
def test_arguments_of_another_type_are_refused_from_python(call, message):
    with pytest.raises(CotaspError, match=message):
        call(cotasp.load("smoke"))


def test_more_threads_than_processors_are_told(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    monkeypatch.setattr("cotasp.sweep.launchers.cores", lambda: 2)
    set_threads(2)
    assert capsys.readouterr().err == ""
    set_threads(3)
    assert capsys.readouterr().err == "note: 3 threads wait for one another on 2 processors\n"
    assert asked == [2, 3]
