"""Trials that begin at once: a process that has imported what runs need is forked for each.

Imports are seconds of every process that runs a trial, as long as a short trial itself.
`python -m cotasp.sweep.fork_server DESCRIPTOR` is what `ForkServer` starts.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from cotasp.continual.child import python
from cotasp.continual.stopping import SIGNALS
from cotasp.sweep.trial import KILLED, Job, die_with_parent, environment, ready, start

# torchrl counts GPUs when it is imported, and CUDA does not live through a fork
_GPUS = [Path("/dev", name) for name in ("nvidiactl", "nvhost-gpu", "dxg")]


def _is_supported() -> bool:
    if sys.platform != "linux" or any(gpu.exists() for gpu in _GPUS):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # an old kernel, or a sandbox that forbids it
        return False
    return True


SUPPORTED = _is_supported()
_NOBODY = 0  # in place of a process's number
_IMPORTED = (
    "cotasp.agents.off_policy",
    "cotasp.agents.sac",
    "cotasp.commands.run",
    "cotasp.continual.loop",
    "cotasp.continual.saved",
    "cotasp.continual.setup",
    "cotasp.dictionaries.anchored",
    "cotasp.methods.freeze",
    "cotasp.modules.critics",
    "cotasp.tasks.point",
)
_LONGEST, _MOST = 1 << 20, 253  # bytes of a request, and files: what Linux sends at once


class ForkedTrial:
    """A trial's process, with what the pools need of `subprocess.Popen`.

    Args:
        answers: where the server sends the process's number, and how it ended.
    """

    def __init__(self, answers: Connection) -> None:
        self.returncode: int | None = None
        self._answers = answers
        self._pid: int | None = None
        self._due: int | None = None  # a signal that it is to have once it has begun

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        while self.returncode is None and self._answers.poll():
            self._hear()
        return self.returncode

    def wait(self) -> int:
        """The exit code, once it has ended."""
        while self.returncode is None:
            self._hear()
        return self.returncode

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._signal(signal.SIGKILL)

    def _hear(self) -> None:
        try:
            number = self._answers.recv()
        except (EOFError, OSError):  # the server is gone, and its trials with it
            self.returncode = KILLED
        else:
            if self._pid is None:
                self._pid = number
                if self._due is not None:
                    self._send(self._due)
                return
            self.returncode = number
        self._answers.close()

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            if self._pid is None:
                self._due = number
            else:
                self._send(number)

    def _send(self, number: int) -> None:
        if self._pid:  # not `_NOBODY`
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)


class ForkServer:
    """Starts trials, on Linux without an NVIDIA GPU; elsewhere as `cotasp.sweep.trial.start`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._link: socket.socket | None = None

    def start(self, *jobs: Job, simulators: int = 0) -> ForkedTrial | subprocess.Popen:
        """See `cotasp.sweep.trial.start`."""
        if not SUPPORTED or len(jobs) >= _MOST:
            return start(*jobs, simulators=simulators)
        here, there = Pipe(duplex=False)
        with ready(*jobs, simulators=simulators) as (words, logs), there:
            files = [there.fileno(), *(log.fileno() for log in logs)]
            request = json.dumps(words).encode()
            try:
                socket.send_fds(self._open(), [request], files)
            except (BrokenPipeError, ConnectionResetError):  # it was killed, with all its trials
                self.close()
                socket.send_fds(self._open(), [request], files)
        return ForkedTrial(here)

    def _open(self) -> socket.socket:
        if self._link is None:
            # a message is a request; the other end's closing is the last one
            link, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with there:
                try:
                    self._process = subprocess.Popen(
                        python(__name__, str(there.fileno())),
                        stdin=subprocess.DEVNULL,
                        pass_fds=[there.fileno()],
                        env=environment(),
                        start_new_session=True,  # the terminal's Ctrl-C is the sweep's
                        preexec_fn=partial(die_with_parent, os.getpid()),
                    )
                except OSError:
                    link.close()
                    raise
            self._link = link
        return self._link

    def close(self) -> None:
        """Ends the server; trials that still run are killed."""
        if self._link is not None and self._process is not None:
            self._link.close()
            self._process.wait()
            self._link = self._process = None


def serve(link: socket.socket) -> list[str] | None:
    """Forks for every request; in the forked process, the module and arguments that it is to run.

    Args:
        link: to the sweep; when it is closed this returns None.
    """
    # a trial that is told to stop writes a checkpoint first: who tells all processes tells it, too
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for name in _IMPORTED:
        with suppress(Exception):  # the trial's log says what cannot be imported
            import_module(name)
    gc.collect()
    gc.freeze()  # collecting would copy what the processes share
    running: dict[int, tuple[int, Connection]] = {}  # by descriptor
    while True:
        for source in wait([link, *running]):
            if isinstance(source, int):
                pid, answers = running.pop(source)
                os.close(source)
                _answer(answers, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                answers.close()
                continue
            request, files, *_ = socket.recv_fds(link, _LONGEST, _MOST)
            if not request:
                return None
            answers, logs = Connection(files[0], readable=False), files[1:]
            server = os.getpid()
            try:
                pid = os.fork()
            except OSError as error:
                _refuse(error, logs, answers)
                continue
            if pid == 0:
                die_with_parent(server)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
                os.setsid()
                for standard in (1, 2):
                    os.dup2(logs[0], standard)
                link.close()
                for connection in (answers, *(other for _, other in running.values())):
                    connection.close()
                return json.loads(request)  # the logs stay open, and with them their locks
            try:
                descriptor = os.pidfd_open(pid)
            except OSError as error:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                _refuse(error, logs, answers)
                continue
            for log in logs:
                os.close(log)
            _answer(answers, pid)
            running[descriptor] = pid, answers


def _refuse(error: OSError, logs: list[int], answers: Connection) -> None:
    """Says in a trial's log why it could not be started, as `cotasp.sweep.trial.note` does."""
    with suppress(OSError):
        os.write(logs[0], f"cotasp: error: could not be run: {error}\n".encode())
    for log in logs:
        os.close(log)
    _answer(answers, _NOBODY)
    _answer(answers, 1)
    answers.close()


def _answer(answers: Connection, number: int) -> None:
    with suppress(OSError):  # the sweep has ended
        answers.send(number)


def main() -> None:
    """What the process does."""
    words = serve(socket.socket(fileno=int(sys.argv[1])))
    if words is not None:
        sys.argv[:] = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
