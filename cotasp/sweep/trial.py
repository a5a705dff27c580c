"""Trials as processes: one of its own for each, or one for several whose updates are stacked."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from cotasp.continual.child import import_path, python
from cotasp.errors import RunError
from cotasp.storage.disk import following_no_link
from cotasp.storage.rundir import METRICS, RunDirectory

KILLED = -9  # exit code of a job whose worker is gone
PATIENCE = 10.0  # s that what a killed process leaves may keep its trial's lock
POLL = 0.05  # s between two looks at what is waited for
_TAIL = 4096  # bytes of a table that hold its last row
_LIBC: Any = ctypes.CDLL(None) if sys.platform == "linux" else None  # not between fork and exec
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class BusyError(RunError):
    """Another process is at work on a trial."""


@dataclass(frozen=True)
class Job:
    """What a launcher places.

    Args:
        name: of the trial.
        recipe: its recipe file, every default written out.
        out: its run directory.
        log: what it prints goes there.
        steps: environment steps it takes.
    """

    name: str
    recipe: str
    out: str
    log: str
    steps: int

    @property
    def finished(self) -> bool:
        """Whether the run has ended; one whose summary is damaged, or cannot be read, has not."""
        with suppress(RunError):
            return RunDirectory(self.out).summary() is not None
        return False

    def open_log(self) -> IO[bytes]:
        """Its log, to be appended to."""
        return open(self.log, "ab", opener=following_no_link)

    def progress(self) -> int:
        """Environment steps that it has taken, as far as its metrics tell."""
        if self.finished:
            return self.steps
        try:
            with open(Path(self.out) / METRICS, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                whole = file.read().rpartition(b"\n")[0]  # the last row may be half written
                return int(whole.rpartition(b"\n")[2].partition(b",")[0])
        except (OSError, ValueError):  # there is none, or its heading alone
            return 0


def job_at(path: str, name: str, steps: int) -> Job:
    """A trial's job; its recipe and log lie beside its run directory."""
    return Job(name, f"{path}.yaml", path, f"{path}.log", steps)


def has_begun(job: Job) -> bool:
    """Whether there is a run to continue; what is there of one without checkpoint is removed.

    Raises:
        RunError: another process is at work on the run, or links lead out of it.
    """
    out = Path(job.out)
    if not out.exists() or not any(out.iterdir()):
        return False
    RunDirectory(out).refuse_links()
    if any(out.glob("checkpoints/task_*")):
        return True
    with RunDirectory(out).locked():  # it may be at work, started by hand
        shutil.rmtree(out)
    return False


def command(*jobs: Job, simulators: int = 0) -> list[str]:
    """The module, and its arguments, that runs a trial or continues it, or several together.

    Args:
        jobs: the trials.
        simulators: see `cotasp.sweep.stacked.run_stacked`; for several.

    Raises:
        RunError: another process is at work on a run.
    """
    if len(jobs) > 1:
        return ["cotasp.sweep.stacked", str(simulators), *(job.out for job in jobs)]
    (job,) = jobs
    if has_begun(job):
        return ["cotasp", "resume", job.out, "--quiet"]
    return ["cotasp", "run", job.recipe, "--out", job.out, "--quiet"]


@contextmanager
def ready(*jobs: Job, simulators: int = 0) -> Iterator[tuple[list[str], list[IO[bytes]]]]:
    """What is to be run, as `command` says, and the trials' logs, locked and open inside the block.

    A process that is given the logs holds their locks as long as it lives, so that no other
    begins meanwhile.

    Args:
        jobs: the trials.
        simulators: see `command`.

    Raises:
        BusyError: another process is at work on one of these trials.
        RunError: a trial cannot be locked, or links lead out of its directory.
        OSError: a log cannot be written.
    """
    with ExitStack() as files:
        logs: list[IO[bytes]] = [files.enter_context(job.open_log()) for job in jobs]
        for log, job in zip(logs, jobs):
            lock(log, job)
        words = command(*jobs, simulators=simulators)
        for log in logs:
            log.write(f"$ {sys.executable} -m {' '.join(words)}\n".encode())
            log.flush()
        yield words, logs


def start(*jobs: Job, simulators: int = 0) -> subprocess.Popen:
    """Starts trials in one process with one thread; what it prints is appended to the first's log.

    Args:
        jobs: the trials.
        simulators: see `command`.

    Raises:
        BusyError: another process is at work on one of these trials.
        RunError: a trial cannot be locked, or links lead out of its directory.
        OSError: a log cannot be written, or no process can be started.
    """
    with ready(*jobs, simulators=simulators) as (words, logs):
        return subprocess.Popen(
            python(*words),
            stdin=subprocess.DEVNULL,
            stdout=logs[0],
            stderr=logs[0],
            pass_fds=[log.fileno() for log in logs],
            env=environment(),
            start_new_session=True,  # the terminal's Ctrl-C is the sweep's, which passes on one
            preexec_fn=partial(die_with_parent, os.getpid()),
        )


def environment() -> dict[str, str]:
    """Of a process with one thread that imports what this one would."""
    return {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": import_path()}


def lock(log: IO[bytes], job: Job) -> None:
    """Locks a trial's log.

    Raises:
        BusyError: another process holds it; what a killed one leaves, for `PATIENCE` at most.
        RunError: it cannot be locked.
    """
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            f"{job.out}: another process is at work on this trial; wait for it or stop it"
        ) from error
    except OSError as error:
        raise RunError(
            f"{job.log}: cannot be locked: {error.strerror}; choose an --out on a file system "
            f"that knows flock"
        ) from error


def die_with_parent(parent: int) -> None:
    """A worker that is killed takes its trial along; else two would write to one directory.

    Does nothing where there is no such signal.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it was killed before this: no signal will come any more
        os.kill(os.getpid(), signal.SIGKILL)


def execute(job: Job) -> int:
    """Runs the trial to its end; its exit code, negative: killed by that signal."""
    if job.finished:
        return 0
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return start(job).wait()
        except (OSError, RunError) as error:
            if not isinstance(error, BusyError) or time.monotonic() > until:
                note(job, error)
                return 1
        time.sleep(POLL)


def note(job: Job, error: BaseException, said: str = "error: could not be run: ") -> None:
    """Appends to the trial's log why it could not be run, or ended."""
    *above, last = str(error).strip().splitlines() or [type(error).__name__]
    with suppress(OSError), job.open_log() as log:
        log.write("\n".join([*above, f"cotasp: {said}{last.strip()}\n"]).encode())


def reason(job: Job) -> str:
    """Why a trial failed: the last line of its log."""
    try:
        lines = Path(job.log).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no log"
    said = [line.strip() for line in lines if line.strip() and not line.startswith("$ ")]
    return said[-1].removeprefix("cotasp: error: ") if said else "it printed nothing"
