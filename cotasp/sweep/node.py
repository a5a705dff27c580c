"""A trial on a machine that shares no disk with the sweep."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cotasp._version import __version__
from cotasp.sweep.parcels import Version, changed, checkpoint_names, listing, pack, unpack
from cotasp.sweep.trial import job_at, start

CHUNK = 8 * 2**20  # bytes sent at once
_METRICS_EVERY = 30.0  # s between parcels without a checkpoint
_POLL = 0.05  # s
_PREFIX = "cotasp-trial-"


@dataclass(frozen=True)
class News:
    """How far a trial is.

    Args:
        code: its exit code; None: it runs.
        log: what it has printed since the last news.
        size: bytes of the parcel that waits to be fetched; 0: there is none.
        names: all files that its run has, if there is a parcel.
    """

    code: int | None
    log: bytes
    size: int = 0
    names: Collection[str] = ()


class NodeTrial:
    """Runs a trial in a folder of this machine's own, below `TMPDIR`.

    It is the class of an actor: its methods are called one after the other, and the trial, a
    process of its own, dies with it.

    Args:
        name: of the trial.
        steps: it takes.
    """

    def __init__(self, name: str, steps: int) -> None:
        self.folder, self._lock = _own_folder()
        self.job = job_at(str(self.folder / "run"), name, steps)
        self.run = Path(self.job.out)
        self.parcel = self.folder / "parcel.tar"
        self.process: subprocess.Popen | None = None
        self._sent: dict[str, Version] = {}
        self._checkpoints: set[str] = set()
        self._printed = 0  # bytes of the log that were told
        self._packed_at = time.monotonic()

    def facts(self) -> dict[str, str]:
        """Which machine this is, and its version of cotasp."""
        return {"node": f"{platform.node()} {self.folder}", "cotasp": __version__}

    def receive(self, chunk: bytes) -> None:
        """Appends to the parcel that the trial goes on from."""
        with open(self.parcel, "ab") as file:
            file.write(chunk)

    def start(self, recipe: str) -> None:
        """Starts the trial, or goes on from what was received.

        Args:
            recipe: text of its recipe file.

        Raises:
            OSError: it cannot be written or started.
        """
        if self.parcel.exists():
            unpack(self.parcel, self.run, ())
            self._sent, self._checkpoints = listing(self.run), checkpoint_names(self.run)
        Path(self.job.recipe).write_text(recipe, encoding="utf-8")
        self.process = start(self.job)

    def news(self, seconds: float) -> News:
        """What is new; waits at most so long for a checkpoint or the trial's end."""
        assert self.process is not None, "start comes first"
        until = time.monotonic() + seconds
        while (code := self.process.poll()) is None and time.monotonic() < until:
            if checkpoint_names(self.run) - self._checkpoints:
                break
            time.sleep(_POLL)
        new = checkpoint_names(self.run) - self._checkpoints
        if code is None and not new and time.monotonic() < self._packed_at + _METRICS_EVERY:
            return News(code, self._log())
        try:
            size = self._pack()
        except (FileNotFoundError, tarfile.ReadError):  # the run has removed or replaced a file
            if code is not None:
                raise
            size = 0
        return News(code, self._log(), size, tuple(self._sent) if size else ())

    def _pack(self) -> int:
        versions = listing(self.run)
        names = changed(versions, self._sent)
        size = pack(self.run, names, self.parcel) if names else 0
        self._sent, self._packed_at = versions, time.monotonic()
        self._checkpoints = {n.split("/")[1] for n in versions if n.startswith("checkpoints/task_")}
        return size

    def _log(self) -> bytes:
        with open(self.job.log, "rb") as file:
            file.seek(self._printed)
            printed = file.read()
        self._printed += len(printed)
        return printed

    def fetch(self, offset: int) -> bytes:
        """A piece of the parcel."""
        with open(self.parcel, "rb") as file:
            file.seek(offset)
            return file.read(CHUNK)

    def stop(self) -> None:
        """Asks the trial to write a checkpoint and end."""
        if self.process is not None:
            self.process.terminate()

    def clean(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _own_folder() -> tuple[Path, int]:
    """A new folder, and a handle that locks it; those of dead processes are removed."""
    top = Path(tempfile.gettempdir())
    for old in top.glob(f"{_PREFIX}*"):
        with suppress(OSError), open(old / ".lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=top))
    lock = os.open(hidden / ".lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(hidden, folder := top / hidden.name[1:])
    return folder, lock
