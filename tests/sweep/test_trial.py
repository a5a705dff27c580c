"""One trial: what it never touches, and what is said where it cannot begin."""

from __future__ import annotations

import errno
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from cotasp.errors import RunError
from cotasp.storage.rundir import RunDirectory
from cotasp.sweep import trial
from cotasp.sweep.running import _outcome as outcome_of
from tests.report.synthetic import make_run, recipe


def a_job(path: Path) -> trial.Job:
    return trial.Job("t", str(path / "t.yaml"), str(path / "t"), str(path / "t.log"), 1)


def test_a_run_under_way_is_not_removed(tmp_path):
    """One started by hand holds no lock on the trial's log, but on its own directory."""
    job = a_job(tmp_path)
    Path(job.out).mkdir()
    (Path(job.out) / "metrics.csv").touch()
    with RunDirectory(job.out).locked():
        assert trial.execute(job) == 1
    assert "is at work on this run" in trial.reason(job)
    assert (Path(job.out) / "metrics.csv").exists()


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_link_leads_to_is_never_emptied(begun, tmp_path):
    job = a_job(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    (Path(job.out) / ("checkpoints/task_01" if begun else "tensorboard")).mkdir(parents=True)
    (Path(job.out) / ".lock").symlink_to(tmp_path / "thesis.tex")
    assert trial.execute(job) == 1
    assert "expected files of the run, found a symbolic link" in trial.reason(job)
    with pytest.raises(RunError, match="cannot be locked"), RunDirectory(job.out).locked():
        pass
    (tmp_path / "u.log").symlink_to(tmp_path / "thesis.tex")
    trial.note(trial.job_at(str(tmp_path / "u"), "u", 1), RunError("no"))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_trial_that_finished_and_was_then_killed_is_done(tmp_path):
    job = a_job(tmp_path)
    assert outcome_of(job, -signal.SIGKILL).state == "killed"
    make_run(Path(job.out), recipe())
    for code in (0, 1, -signal.SIGKILL, 128 + signal.SIGTERM):
        assert outcome_of(job, code).state == "done"


def test_a_lock_that_a_killed_process_leaves_is_waited_for(tmp_path, monkeypatch):
    tries = []

    def start(job):
        tries.append(job)
        if len(tries) < 3 or trial.PATIENCE < 1:
            raise trial.BusyError("another process is at work on this trial")
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr(trial, "start", start)
    assert trial.execute(a_job(tmp_path)) == 0
    assert len(tries) == 3
    monkeypatch.setattr(trial, "PATIENCE", 0.1)
    assert trial.execute(a_job(tmp_path)) == 1
    assert "is at work on this trial" in trial.reason(a_job(tmp_path))


@pytest.mark.parametrize("content", ["", "{}", '{"performance": 1, "per_task": {}', "[" * 99_999])
def test_a_damaged_summary_ends_no_trial(content, tmp_path):
    job = a_job(tmp_path)
    make_run(Path(job.out), recipe())
    assert job.finished
    (Path(job.out) / "summary.json").write_text(content)
    assert not job.finished
    assert outcome_of(job, 1).state == "failed"


def test_a_file_system_without_locks_is_told_from_a_trial_under_way(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(trial.fcntl, "flock", flock)
    job = a_job(tmp_path)
    assert trial.execute(job) == 1
    assert "t.log: cannot be locked: No locks available" in trial.reason(job)
