"""Disks that are full, fail, or lose power: what a run does then, and after."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from functools import partial
from pathlib import Path

import pytest

from cotasp.__main__ import main
from cotasp.continual.loop import resume, run
from cotasp.errors import RunError
from cotasp.storage import snapshot
from cotasp.storage.checkpoint import Checkpoint
from cotasp.storage.checkpoints import Checkpoints
from tests.continual.runs import contents, tiny

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
                patch.setattr(f"cotasp.storage.checkpoints.{what}", fails)
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


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("cotasp.storage.tables.CsvFile.append", r"run/\w+.csv"),
        ("cotasp.storage.rundir.write_text", "evaluations.json"),
    ],
    ids=["metrics", "results"],
)
def test_no_room_ends_the_run_where_it_can_be_continued(place, name, out, undisturbed, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(place, fails)
        with pytest.raises(
            RunError, match=rf"{name}: cannot be written to: No space left .*cotasp "
        ):
            resume(out, progress=False)
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_another_error_of_the_system_keeps_its_own_words(out, monkeypatch):
    from cotasp.agents.off_policy import OffPolicyLearner

    def fails(self, data):
        raise ConnectionResetError("the licence server hung up")

    monkeypatch.setattr(OffPolicyLearner, "learn", fails)
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


ENDED = '{"performance": 0.5, "per_task": {}, "success_last": []}'


@pytest.mark.parametrize("content", ["", '{"performance"', "[]", "\0" * 9, ENDED])
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

    monkeypatch.setattr("cotasp.storage.rundir.write_text", interrupted)
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
    ["manifest.json", "state.json", "tensors.safetensors", "000000038-000000058.safetensors"],
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
