"""Files that are damaged, planted or too new; disks that are full; numbers that are not finite."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import resource
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cotasp.__main__ import main
from cotasp.continual import snapshot
from cotasp.continual.checkpoint import seal
from cotasp.continual.checkpoints import Checkpoints
from cotasp.continual.loop import resume, run
from cotasp.errors import RunError
from cotasp.tasks.point import PointEnv
from tests.continual.runs import contents, tiny, training_steps
from tests.continual.test_resume import stopped

NEWEST = "task_02_step_000000060"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run(tiny(), out, progress=False)
    return out


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> Path:
    return stopped(tmp_path_factory.mktemp("interrupted") / "run", 155)


@pytest.fixture
def out(interrupted, tmp_path) -> Path:
    """A run directory whose last checkpoint is `NEWEST`, to be spoilt."""
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def replace(out: Path, name: str, content: bytes) -> None:
    """Puts other content in a file of the newest checkpoint, with a manifest that agrees."""
    newest = out / "checkpoints" / NEWEST
    (newest / name).unlink()
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest.pop("checksum")
    manifest["files"][name] = snapshot.write_bytes(newest / name, content)
    (newest / "manifest.json").write_text(json.dumps(seal(manifest)))


# -- damage ---------------------------------------------------------------------------------


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("spoil", [flipped, cut_short, Path.unlink])
@pytest.mark.parametrize(
    "file",
    [
        f"{NEWEST}/manifest.json",
        f"{NEWEST}/state.json",
        f"{NEWEST}/tensors.safetensors",
        "rows/task_02/000000040-000000060.safetensors",
    ],
)
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(file, spoil, out, undisturbed):
    spoil(out / "checkpoints" / file)
    before = "task_02_step_000000040"
    with pytest.warns(UserWarning, match=rf"{NEWEST}: damaged: .*{before} is used instead"):
        resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_no_whole_checkpoint_is_an_error_and_nothing_is_removed(out, capsys):
    for path in (out / "checkpoints").glob("*/manifest.json"):
        cut_short(path)
    before = {p: p.stat().st_size for p in out.rglob("*") if p.is_file()}
    assert main(["resume", str(out), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("cotasp: error: no checkpoint is whole: ")
    assert error.count("\n") == 1
    after = {p: p.stat().st_size for p in out.rglob("*") if p.is_file()}
    assert {p: size for p, size in after.items() if p.name != ".lock"} == {
        p: size for p, size in before.items() if p.name != ".lock"
    }


def test_a_newer_format_is_refused_and_not_passed_over(out):
    path = out / "checkpoints" / NEWEST / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(RunError, match=r"newer cotasp .*format 99; this one reads up to 1\); upg"):
        resume(out, progress=False)


def test_metrics_that_are_missing_are_told(out):
    path = out / "metrics/scalars/evaluation/right/success.csv"
    os.truncate(path, 3)
    with pytest.raises(RunError, match=r"success.csv: expected at least \d+ bytes"):
        resume(out, progress=False)


def test_what_a_killed_write_left_is_removed(out, undisturbed):
    folder = out / "checkpoints"
    shutil.copytree(folder / NEWEST, folder / ".task_02_step_000000080.writing")
    (folder / "rows/task_02/000000060-000000080.safetensors").write_bytes(b"half a fi")
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)
    assert not list(folder.glob(".*"))


# -- strangers' files -----------------------------------------------------------------------


class Bomb:
    """Unpickling it would leave a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("protocol", [0, 4])
def test_a_planted_pickle_is_never_opened(protocol, out, undisturbed, tmp_path, capsys):
    marker = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(marker), protocol)
    pickle.loads(bomb)
    assert marker.exists(), "the bomb works"
    marker.unlink()
    torch.save(Bomb(marker), tmp_path / "bomb.pt")
    newest = out / "checkpoints" / NEWEST
    for content in (bomb, (tmp_path / "bomb.pt").read_bytes()):
        for name in ("state.json", "tensors.safetensors"):
            spoilt = Path(shutil.copytree(out, tmp_path / f"{name}{len(content)}"))
            replace(spoilt, name, content)
            with pytest.warns(UserWarning, match="damaged"):
                resume(spoilt, progress=False)
            assert contents(spoilt) == contents(undisturbed)
    for place in (newest / "learner.pkl", newest / "data.pt", out / "state.pickle"):
        place.write_bytes(bomb)
    for name in ("recipe.yaml", "protocol.json"):
        spoilt = Path(shutil.copytree(out, tmp_path / name))
        (spoilt / name).write_bytes(bomb)
        assert main(["resume", str(spoilt), "--quiet"]) in (1, 2)
        assert capsys.readouterr().err.count("\n") == 1
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)
    assert not marker.exists()


def test_a_yaml_tag_executes_nothing(out, tmp_path, capsys):
    marker = tmp_path / "executed"
    recipe = (out / "recipe.yaml").read_text()
    for tag in ("python/object/apply:os.mknod", "python/name:os.system", "python/module:os"):
        (out / "recipe.yaml").write_text(recipe + f"\nextra: !!{tag} ['{marker}']\n")
        for command in (["resume", str(out)], ["evaluate", str(out)]):
            assert main(command) == 2
            assert "tags (!) are not allowed" in capsys.readouterr().err
    assert not marker.exists()


def changed_tensors(out: Path, change) -> None:
    tensors = safetensors.torch.load_file(out / "checkpoints" / NEWEST / "tensors.safetensors")
    change(tensors)
    replace(out, "tensors.safetensors", safetensors.torch.save(tensors))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("/learner/meta_policy/body.layers.0.weight", torch.zeros(3, 3)),
        ("/learner/codes", torch.zeros(2, 7)),
        ("/learner/embeddings", torch.zeros(1, 1)),
        ("/learner/training/code", torch.zeros(5)),
        ("/learner/values/critic_optimiser/0/exp_avg", torch.zeros(0)),
        ("/collection/now/observation", torch.zeros(9, 9)),
        ("/random/torch_cpu", torch.zeros(3, dtype=torch.uint8)),
    ],
)
def test_tensors_of_wrong_shapes_are_refused(place, value, out, capsys):
    changed_tensors(out, lambda tensors: tensors.update({place: value}))
    assert main(["resume", str(out), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert f"{NEWEST}: cannot be loaded: " in error
    assert error.count("\n") == 1


def test_a_state_without_its_tensors_is_damaged(out):
    changed_tensors(out, lambda tensors: tensors.pop("/learner/codes"))
    with pytest.warns(UserWarning, match="do not belong together"):
        resume(out, progress=False)


@pytest.mark.parametrize("file", ["../../../recipe.yaml", "/etc/passwd", "a/../b/1-2.safetensors"])
def test_a_manifest_cannot_name_files_elsewhere(file, out):
    path = out / "checkpoints" / NEWEST / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("checksum")
    manifest["rows"]["task_02"][0]["file"] = file
    path.write_text(json.dumps(seal(manifest)))
    with pytest.warns(UserWarning, match="names files outside of its directory"):
        resume(out, progress=False)


# -- full disks -----------------------------------------------------------------------------


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_write_that_fails_costs_one_checkpoint(nth, undisturbed, tmp_path, monkeypatch):
    write, calls = snapshot.write_bytes, []

    def fails(path, content):
        calls.append(path)
        if len(calls) == nth:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(snapshot, "write_bytes", fails)
    with pytest.warns(UserWarning, match=r"no checkpoint .*No space left.*the run goes on"):
        run(tiny(), tmp_path / "run", progress=False)
    assert contents(tmp_path / "run") == contents(undisturbed)
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def test_a_limit_on_file_sizes(out, undisturbed, capsys):
    """The real thing: the system refuses every file above 20 kB, then no longer."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = {path.name for path in Checkpoints(out).paths()}
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, usual[1]))
    try:
        with pytest.warns(UserWarning, match="File too large"):
            summary = resume(out, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert summary == json.loads((undisturbed / "summary.json").read_text())
    assert {path.name for path in Checkpoints(out).paths()} == before
    (out / "summary.json").unlink()
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_no_room_for_metrics_ends_the_run_where_it_can_be_continued(out, undisturbed, monkeypatch):
    from torchrl.record import CSVLogger

    def fails(self, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(CSVLogger, "log_scalar", fails)
        with pytest.raises(RunError, match=r"cannot write metrics: No space left .*cotasp resume"):
            resume(out, progress=False)
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_no_room_for_the_results_ends_it_likewise(out, undisturbed, monkeypatch):
    from cotasp.continual import rundir

    def fails(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(rundir, "write_text", fails)
        with pytest.raises(RunError, match=r"cannot be written to: No space left .*cotasp resume"):
            resume(out, progress=False)
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


# -- numbers that are not finite ----------------------------------------------------------------


def spoilt_at(monkeypatch, key: str, value: float, *steps: int) -> None:
    def then(step, data):
        if step in steps:
            data[key] = torch.full_like(data[key], value)

    training_steps(monkeypatch, then)


@pytest.mark.parametrize("key", ["reward", "observation"])
def test_the_checkpoint_from_before_stays(key, undisturbed, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        spoilt_at(patch, key, math.nan, 47)
        message = rf"task 'right', step 47: .*{key} that is not finite"
        with pytest.raises(RunError, match=message):
            run(tiny(), tmp_path / "run", progress=False)
    assert Checkpoints(tmp_path / "run").paths()[-1].name == "task_01_step_000000040"
    resume(tmp_path / "run", progress=False)
    assert contents(tmp_path / "run") == contents(undisturbed)


@pytest.mark.parametrize(
    "where", ["sub.network", "values.critics", "code", "values.log_temperature"]
)
def test_a_parameter_that_is_not_finite_stops_the_run(where, tmp_path, monkeypatch):
    from cotasp.learning import sac_learner

    learn = sac_learner.SACLearner.learn

    def spoils(self, data):
        losses = learn(self, data)
        if self.steps == 50:
            target = self
            for name in where.split("."):
                target = getattr(target, name)
            parameter = target if isinstance(target, torch.Tensor) else next(target.parameters())
            parameter.data.view(-1)[0] = math.nan
        return losses

    monkeypatch.setattr(sac_learner.SACLearner, "learn", spoils)
    with pytest.raises(RunError, match=r"task 'right'.* (is nan at|is not finite)"):
        run(tiny("evaluation.every=100"), tmp_path / "run", progress=False)
    assert Checkpoints(tmp_path / "run").paths()[-1].name == "task_01_step_000000040"


def test_a_state_that_is_not_finite_is_not_saved(tmp_path, monkeypatch):
    from cotasp.dictionaries.dictionary import Dictionary

    record = Dictionary.record

    def spoils(self, *pair, **more):
        record(self, *pair, **more)
        self.A.fill_(math.inf)

    monkeypatch.setattr(Dictionary, "record", spoils)
    with pytest.raises(RunError, match=r"after task 1 of 2: learner/prompter/.*A is not finite"):
        run(tiny("dictionary.update=frozen"), tmp_path / "run", progress=False)
    assert Checkpoints(tmp_path / "run").paths()[-1].name == "task_01_step_000000080"


def test_isolated_faults_can_be_skipped(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        spoilt_at(patch, "reward", math.inf, 13, 44, 120)
        summary = run(tiny("faults=skip"), tmp_path / "run", progress=False)
    assert summary["simulator_faults"] == 3
    assert summary["steps"] == 200


def test_an_environment_that_raises_is_a_fault_too(tmp_path, monkeypatch):
    def then(step, data):
        if step in (13, 14):
            raise ArithmeticError("unstable")

    message = r"task 'right', step 13: the environment failed: ArithmeticError\('unstable'\)"
    training_steps(monkeypatch, then)
    with pytest.raises(RunError, match=message):
        run(tiny(), tmp_path / "run", progress=False)
    monkeypatch.undo()
    training_steps(monkeypatch, then)
    assert run(tiny("faults=skip"), tmp_path / "on", progress=False)["simulator_faults"] == 2


def test_faults_that_are_not_isolated_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("cotasp.continual.collection.ISOLATED", 5)
    spoilt_at(monkeypatch, "observation", math.nan, *range(30, 60))
    with pytest.raises(RunError, match=r"step 30: .*6 faults are no isolated ones"):
        run(tiny("faults=skip"), tmp_path / "run", progress=False)


def test_a_reset_that_is_not_finite_stops_the_run_in_any_case(tmp_path, monkeypatch):
    reset = PointEnv._reset

    def broken(self, *_):
        out = reset(self, *_)
        return out.set("observation", out["observation"] * math.nan)

    monkeypatch.setattr(PointEnv, "_reset", broken)
    with pytest.raises(RunError, match="observation that is not finite from its reset"):
        run(tiny("faults=skip"), tmp_path / "run", progress=False)


def test_evaluation_finds_it_too(tmp_path, monkeypatch):
    step = PointEnv._step

    def broken(self, tensordict):
        out = step(self, tensordict)
        if self.batch_size:
            out["observation"] = out["observation"] * math.nan
        return out

    monkeypatch.setattr(PointEnv, "_step", broken)
    with pytest.raises(RunError, match=r"evaluation of task 'right': an observation is not finite"):
        run(tiny(), tmp_path / "run", progress=False)
