"""Forked trials are what processes of their own are: exit codes, signals, logs, environment."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count
from multiprocessing import Pipe
from pathlib import Path

import pytest

from cotasp.sweep import fork_server
from cotasp.sweep.fork_server import ForkServer
from cotasp.sweep.trial import KILLED, THREADS, BusyError, Job, reason

pytestmark = pytest.mark.skipif(not fork_server.SUPPORTED, reason="trials are forked on Linux")
SCRIPT = """
import os, signal, sys, time
here, threads, words = os.getcwd(), {threads}, sys.argv
print(here, [os.environ[t] for t in threads], words[1:], os.getsid(0) == os.getpid())
print("imported:", "torch" in sys.modules, "for", __name__, file=sys.stderr)
{end}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """From where this process, and the server, import."""
    made = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(made))
        yield made


@pytest.fixture(scope="module")
def server(folder):
    made = ForkServer()
    yield made
    made.close()


@pytest.fixture
def started(server, folder, tmp_path, monkeypatch):
    """Starts a trial that is a script which ends so."""
    numbers = count()

    def start(end: str):
        name = f"{tmp_path.name}_{next(numbers)}"
        (folder / f"{name}.py").write_text(SCRIPT.format(threads=THREADS, end=end))
        monkeypatch.setattr("cotasp.sweep.trial.command", lambda *jobs, simulators: [name])
        return server.start(Job("t", "t.yaml", str(tmp_path / "t"), str(log(tmp_path)), 1))

    return start


def log(folder: Path) -> Path:
    return folder / "t.log"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('broken')", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    ],
)
def test_it_ends_as_a_process_of_its_own_would(started, tmp_path, end, code):
    assert started(end).wait() == code
    text = log(tmp_path).read_text()
    assert text.startswith(f"$ {sys.executable} -m {tmp_path.name}_0\n")
    assert f"{os.getcwd()} ['1', '1', '1'] [] True\n" in text or code == -9  # not flushed
    assert "imported: True for __main__\n" in text
    assert ("ValueError: broken" in text) == (code == 1)


def test_signals_reach_it_also_before_it_has_begun(started):
    trial = started("time.sleep(60)")
    assert trial.poll() is None
    trial.terminate()
    assert trial.wait() == -signal.SIGTERM == trial.poll()
    trial.kill()  # nobody is left


def test_several_run_side_by_side_and_end_in_any_order(started, tmp_path):
    slow = started("time.sleep(60)")
    (tmp_path / "t.log").unlink()  # another's lock
    assert started("").wait() == 0
    assert slow.poll() is None
    slow.kill()
    assert slow.wait() == -signal.SIGKILL


def test_a_killed_server_takes_its_trials_along_and_another_takes_its_place(
    started, server, tmp_path
):
    trial = started("print(os.getpid(), flush=True); time.sleep(60)")
    while not (told := log(tmp_path).read_text().splitlines()[-1]).isdecimal():
        time.sleep(0.02)
    server._process.kill()
    assert trial.wait() == KILLED
    while Path(f"/proc/{told}/cmdline").exists() and Path(f"/proc/{told}/cmdline").read_bytes():
        time.sleep(0.02)
    another = None
    while another is None:  # a process that was killed may hold its trial's lock a little longer
        with suppress(BusyError):
            another = started("sys.exit(4)")
    assert another.wait() == 4


def test_elsewhere_a_trial_is_a_process_of_its_own(started, monkeypatch, tmp_path):
    monkeypatch.setattr(fork_server, "SUPPORTED", False)
    trial = started("")
    assert isinstance(trial, subprocess.Popen)
    assert trial.wait() == 0
    assert "imported: False" in log(tmp_path).read_text()


def test_a_signal_to_all_processes_leaves_a_trial_time_to_stop(started, server, tmp_path):
    """As systemd, Slurm and a shutdown send it: who forks trials outlives them."""
    handle = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))"
    trial = started(f"{handle}; print('ready', flush=True); time.sleep(60)")
    while "ready" not in log(tmp_path).read_text():
        time.sleep(0.02)
    server._process.terminate()
    trial.terminate()
    assert trial.wait() == 5
    assert server._process.poll() is None


@pytest.mark.parametrize("what", ["fork", "pidfd_open"])
def test_a_trial_that_cannot_be_forked_says_why(what, monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(errno.EAGAIN, "no more processes")

    link, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    told, tell = Pipe(duplex=False)
    with open(log(tmp_path), "ab") as file, tell, link:
        socket.send_fds(link, [json.dumps(["a_trial"]).encode()], [tell.fileno(), file.fileno()])
    if what == "pidfd_open":
        monkeypatch.setattr(os, "fork", lambda: os.posix_spawn("/bin/sleep", ["sleep", "60"], {}))
    monkeypatch.setattr(os, what, refuse)
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with there:
        assert fork_server.serve(there) is None
    signal.pthread_sigmask(signal.SIG_SETMASK, usual)
    gc.unfreeze()
    assert fork_server.ForkedTrial(told).wait() == 1
    assert reason(Job("t", "t.yaml", "t", str(log(tmp_path)), 1)).endswith("no more processes")


def test_a_server_that_cannot_be_started_refuses_one_trial_alone(started, server, monkeypatch):
    server.close()
    usual = subprocess.Popen

    def refuse(*_, **__):
        monkeypatch.setattr(subprocess, "Popen", usual)
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(BlockingIOError):
        started("")
    assert started("sys.exit(3)").wait() == 3
