"""Disks that are full, and numbers that are not finite: what a run does then, and after."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from cotasp.__main__ import main
from cotasp.continual import snapshot
from cotasp.continual.checkpoint import Checkpoint
from cotasp.continual.checkpoints import Checkpoints
from cotasp.continual.loop import resume, run
from cotasp.errors import RunError
from cotasp.tasks.point import PointEnv
from tests.continual.runs import contents, tiny, training_steps

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


@pytest.mark.parametrize("what", ["sync_directory", "shutil.rmtree"])
def test_a_fault_after_a_checkpoint_leaves_it_whole(what, out, undisturbed, monkeypatch):
    """Nothing of a checkpoint that has its name is taken back; what is old goes later."""

    def fails(path, *_, **__):
        if what != "sync_directory" or path.name == "checkpoints":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    save = Checkpoints.save

    def saved(self, name, state, beside):
        with pytest.MonkeyPatch.context() as patch:
            if name == "task_02_step_000000080":
                patch.setattr(f"cotasp.continual.checkpoints.{what}", fails)
            path = save(self, name, state, beside)
        Checkpoint.open(path).verify()
        return path

    monkeypatch.setattr(Checkpoints, "save", saved)
    with pytest.warns(UserWarning, match="task_02_step_000000080: written, but .*output error"):
        resume(out, progress=False)
    assert contents(out) == contents(undisturbed)
    assert [p.name for p in Checkpoints(out).paths()] == [
        p.name for p in Checkpoints(undisturbed).paths()
    ]


def test_a_limit_on_file_sizes(out, undisturbed):
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
        with pytest.raises(
            RunError, match=r"run/metrics: cannot be written to: No space left .*cotasp "
        ):
            resume(out, progress=False)
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_no_room_for_the_results_ends_it_likewise(out, undisturbed, monkeypatch):
    from cotasp.continual import rundir

    def fails(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(rundir, "write_text", fails)
        with pytest.raises(
            RunError, match=r"evaluations.json: cannot be written to: No space .*cotasp "
        ):
            resume(out, progress=False)
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_another_error_of_the_system_keeps_its_own_words(out, monkeypatch):
    from cotasp.learning.sac_learner import SACLearner

    def fails(self, data):
        raise ConnectionResetError("the licence server hung up")

    monkeypatch.setattr(SACLearner, "learn", fails)
    with pytest.raises(ConnectionResetError, match=r"^the licence server hung up$"):
        resume(out, progress=False)


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """A loss of power keeps what was synced: contents before names, names before going on."""
    synced, unsafe = set(), []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def sync(handle):
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def named(rename, source, target):
        inside = [Path(source), *Path(source).rglob("*")]
        unsafe.extend(p for p in inside if p.stat().st_ino not in synced)
        rename(source, target)
        synced.discard(Path(target).parent.stat().st_ino)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", partial(named, rename))
    monkeypatch.setattr(os, "replace", partial(named, replace))
    out = tmp_path / "runs" / "first"
    run(tiny(), out, progress=False)
    run(tiny(), tmp_path / "runs" / "branch", source=f"{out}@1", progress=False)
    assert unsafe == []
    for folder in (tmp_path / "runs", out, out / "checkpoints"):
        assert folder.stat().st_ino in synced
    assert not list((tmp_path / "runs").glob("*/.[!l]*"))


@pytest.mark.parametrize("content", ["", '{"performance"', "[]", "\0" * 9])
def test_a_summary_that_is_damaged_does_not_end_a_run(content, undisturbed, tmp_path, capsys):
    out = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    (out / "summary.json").write_text(content)
    with pytest.warns(UserWarning, match="summary.json: damaged; written anew from the last chec"):
        assert main(["resume", str(out), "--quiet"]) == 0
    assert "this run has ended" not in capsys.readouterr().out
    assert contents(out) == contents(undisturbed)


def test_nothing_stays_of_a_run_directory_that_was_not_made(tmp_path, monkeypatch):
    def interrupted(path, text):
        raise KeyboardInterrupt

    monkeypatch.setattr("cotasp.continual.rundir.write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_told_as_such(out, monkeypatch):
    def fails(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", fails)
    with pytest.raises(RunError, match=r"run: cannot be locked: No locks available; "):
        resume(out, progress=False)


# -- disks that cannot be read ----------------------------------------------------------------


def files(out):
    return {p: p.stat().st_size for p in out.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize(
    "name",
    ["manifest.json", "state.json", "tensors.safetensors", "000000040-000000060.safetensors"],
)
def test_a_file_that_cannot_be_read_now_removes_nothing(name, number, out, undisturbed):
    read, before = Path.read_bytes, files(out)

    def fails(path):
        if path.name == name and path.parent.name in ("task_02_step_000000060", "task_02"):
            raise OSError(number, os.strerror(number))
        return read(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", fails)
        with pytest.raises(RunError, match=rf"{name}: cannot be read: {os.strerror(number)}; noth"):
            resume(out, progress=False)
    assert files(out) == before
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_a_directory_that_cannot_be_read_now_removes_nothing(out):
    before = files(out)

    def fails(read, path="."):
        if Path(path).name == "checkpoints":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return read(path)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("listdir", "scandir"):
            patch.setattr(os, name, partial(fails, getattr(os, name)))
        with pytest.raises(RunError, match="checkpoints: cannot be read: Permission denied"):
            resume(out, progress=False)
    assert files(out) == before


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


def faulty_resets(monkeypatch, kind: str, *at: int) -> None:
    """Spoils those resets of training, counted from 1; none named: all."""
    reset, count = PointEnv._reset, [0]

    def broken(self, *rest, **more):
        out = reset(self, *rest, **more)
        count[0] += not self.batch_size
        if self.batch_size or (at and count[0] not in at):
            return out
        if kind == "raises":
            raise ValueError("no contact model")
        return out.set("observation", out["observation"] * math.nan)

    monkeypatch.setattr(PointEnv, "_reset", broken)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("raises", r"the environment failed: ValueError\('no contact model'\)"),
        ("nan", "the environment returned an observation that is not finite from its reset"),
    ],
)
class TestResets:
    @pytest.mark.parametrize(("at", "step"), [(1, 1), (2, 7)])
    def test_a_fault_stops_the_run_with_task_and_step(self, at, step, kind, what, tmp_path):
        with pytest.MonkeyPatch.context() as patch:
            faulty_resets(patch, kind, at)
            with pytest.raises(RunError, match=rf"^task 'right', step {step}: {what}; the run"):
                run(tiny(), tmp_path / "run", progress=False)

    def test_isolated_ones_can_be_skipped(self, kind, what, tmp_path, monkeypatch):
        faulty_resets(monkeypatch, kind, 1, 2, 3, 9)
        summary = run(tiny("faults=skip"), tmp_path / "run", progress=False)
        assert summary["simulator_faults"] == 4

    def test_others_stop_the_run(self, kind, what, tmp_path, monkeypatch):
        faulty_resets(monkeypatch, kind)
        with pytest.raises(RunError, match=rf"step 1: {what}; 101 faults are no isolated ones"):
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
