"""One trial: a run in a process of its own."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from cotasp.errors import RunError

PATIENCE = 10.0  # s
_LIBC: Any = ctypes.CDLL(None) if sys.platform == "linux" else None  # not between fork and exec
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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
        """Whether the run has ended."""
        return (Path(self.out) / "summary.json").is_file()

    def progress(self) -> int:
        """Environment steps that it has taken, as far as its metrics tell."""
        if self.finished:
            return self.steps
        try:
            with open(Path(self.out) / "metrics/scalars/train/reward.csv", "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
                return int(float(file.read().splitlines()[-1].partition(b",")[0]))
        except (OSError, ValueError, IndexError):
            return 0


def command(job: Job) -> list[str]:
    """The command that runs the trial, or continues it where it can be continued.

    What is there of an unfinished run without checkpoint is removed.
    """
    cotasp = [sys.executable, "-m", "cotasp"]
    out = Path(job.out)
    if out.exists() and any(out.iterdir()):
        if _can_resume() and any(out.glob("checkpoints/task_*")):
            return [*cotasp, "resume", job.out, "--quiet"]
        shutil.rmtree(out)
    return [*cotasp, "run", job.recipe, "--out", job.out, "--quiet"]


def _can_resume() -> bool:
    """Whether this version can continue a run from its checkpoints."""
    return find_spec("cotasp.continual.checkpoints") is not None


def start(job: Job) -> subprocess.Popen:
    """Starts the trial with one thread; what it prints is appended to its log.

    The process holds a lock on its log as long as it lives, so that no other begins meanwhile.

    Raises:
        RunError: another process is at work on this trial.
    """
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    with open(job.log, "ab") as log:
        _lock(log, job)
        argv = command(job)
        log.write(f"$ {' '.join(argv)}\n".encode())
        log.flush()
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,  # which hands the lock on
            stderr=log,
            env=environment,
            start_new_session=True,  # the terminal's Ctrl-C is the sweep's, which passes on one
            preexec_fn=None if _LIBC is None else _die_with_parent,
        )


def _lock(log: IO[bytes], job: Job) -> None:
    """Waits for a killed process's helpers to be gone, but not for a process at work."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if time.monotonic() > until:
                raise RunError(
                    f"{job.out}: another process is at work on this trial; wait for it or stop it"
                ) from error
            time.sleep(0.05)


def _die_with_parent() -> None:
    """A worker that is killed takes its trial along; else two would write to one directory."""
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def execute(job: Job) -> int:
    """Runs the trial to its end; its exit code, negative: killed by that signal."""
    return 0 if job.finished else start(job).wait()


def reason(job: Job) -> str:
    """Why a trial failed: the last line of its log."""
    try:
        lines = Path(job.log).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no log"
    said = [line.strip() for line in lines if line.strip() and not line.startswith("$ ")]
    return said[-1].removeprefix("cotasp: error: ") if said else "it printed nothing"
