"""Environments in another process: the same bits, the same errors, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cotasp.continual import serving
from cotasp.continual.collection import Collection
from cotasp.continual.lockstep import in_lockstep
from cotasp.continual.loop import resume, run
from cotasp.continual.randomness import cpu_random_state
from cotasp.continual.remote import (
    EnvironmentProcess,
    Link,
    RemoteCollection,
    environment_links,
)
from cotasp.errors import RunError, RunStopped
from cotasp.storage.checkpoints import Checkpoints
from tests.continual.environments import misbehaving, use
from tests.continual.runs import contents, tiny

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def links() -> Iterator[list[Link]]:
    """Of one process, each to be used by one run."""
    process = EnvironmentProcess(30)
    yield list(process.links)
    process.close()


@pytest.fixture
def link(links) -> Link:
    return links.pop()


def interrupted_by(then, at: int, link: Link | None, out: Path, *overrides: str) -> None:
    """A run that calls `then` before it collects batch number `at`."""
    kind = Collection if link is None else RemoteCollection
    collect, count = kind.collect, [0]

    def counted(self, steps):
        count[0] += 1
        if count[0] == at:
            then()
        return collect(self, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "collect", counted)
        run(tiny(*overrides), out, progress=False, link=link)


def stopped(link: Link | None, out: Path, *overrides: str) -> None:
    """A run that a signal has stopped in the middle of an episode of its second task."""
    with pytest.raises(RunStopped):
        interrupted_by(lambda: os.kill(os.getpid(), signal.SIGTERM), 13, link, out, *overrides)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def ends_soon(pid: int) -> bool:
    until = time.monotonic() + 10
    while not has_ended(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return has_ended(pid)


def test_a_run_is_the_same_bits(link, undisturbed, tmp_path):
    summary = run(tiny(), tmp_path / "run", progress=False, link=link)
    assert contents(tmp_path / "run") == contents(undisturbed)
    assert summary["steps"] == 200


@pytest.mark.parametrize(
    "override",
    [
        "agent={noise_correlation: 0.7, warmup: uniform, warmup_hold: 4}",
        "evaluation={schedule: full, mode: stochastic}",
        "mask={name: sigmoid, threshold: 1e-2}",
        "stream={name: gymnasium, horizon: 7, "
        "tasks: [{env: Pendulum-v1, text: a, success_return: -100}]}",
    ],
)
def test_every_choice_is_the_same_bits_also_stopped_and_gone_on_with(override, links, tmp_path):
    at = 4 if "gymnasium" in override else 9
    overrides = "steps_per_task=60", "evaluation.every=30", override
    run(tiny(*overrides), tmp_path / "here", progress=False)
    run(tiny(*overrides), tmp_path / "there", progress=False, link=links.pop())
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    for first, second in ((links.pop(), None), (None, links.pop())):
        out = tmp_path / ("begun there" if first else "begun here")
        with pytest.raises(RunStopped):
            interrupted_by(lambda: os.kill(os.getpid(), signal.SIGTERM), at, first, out, *overrides)
        resume(out, progress=False, link=second)
        assert contents(out) == contents(tmp_path / "here")


def test_checkpoints_are_the_same_with_and_without(links, undisturbed, tmp_path):
    stopped(None, tmp_path / "here")
    stopped(links.pop(), tmp_path / "there")
    saved = [Checkpoints(tmp_path / name).newest() for name in ("here", "there")]
    assert saved[0].path.name == saved[1].path.name == "task_02_step_000000030"
    assert saved[0].content_hash() == saved[1].content_hash()
    resume(tmp_path / "here", progress=False, link=links.pop())
    resume(tmp_path / "there", progress=False)
    for name in ("here", "there"):
        assert contents(tmp_path / name) == contents(undisturbed)


def test_random_numbers_that_an_environment_draws_are_the_run_s(link, tmp_path, monkeypatch):
    use(monkeypatch, "draws")
    run(tiny(), tmp_path / "here", progress=False)
    run(tiny(), tmp_path / "there", progress=False, link=link)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


@pytest.mark.parametrize("kind", ["raises", "nan", "evaluation", "ends"])
def test_errors_are_the_same(kind, link, tmp_path, monkeypatch):
    use(monkeypatch, kind)
    errors = []
    for name, own in (("here", None), ("there", link)):
        with pytest.raises((RunError, SystemExit)) as raised:
            run(tiny(), tmp_path / name, progress=False, link=own)
        errors.append(raised.value)
    assert [type(errors[0]), str(errors[0])] == [type(errors[1]), str(errors[1])]
    assert "in _step" in str(errors[1].__cause__) or kind != "ends"


def test_a_fault_is_skipped_as_it_is_without(links, tmp_path, monkeypatch):
    use(monkeypatch, "raises")
    for name, own in (("here", None), ("there", links.pop())):
        summary = run(tiny("faults=skip"), tmp_path / name, progress=False, link=own)
        assert summary["simulator_faults"] == 2
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    stopped(links.pop(), tmp_path / "stopped", "faults=skip")
    assert resume(tmp_path / "stopped", progress=False)["simulator_faults"] >= 2


def test_warnings_arrive(link, tmp_path, monkeypatch):
    use(monkeypatch, "warns")
    with pytest.warns(UserWarning, match="the table shakes") as caught:
        run(tiny(), tmp_path / "run", progress=False, link=link)
    assert caught[0].filename.endswith("environments.py")


def test_what_cannot_be_sent_is_said_with_the_remedy(link, tmp_path, monkeypatch):
    use(monkeypatch, lambda num_envs, seed: misbehaving("", num_envs, seed))
    with pytest.raises(RunError, match=r"must be picklable .*lambda.*; .* or use --simulators 0"):
        run(tiny(), tmp_path / "run", progress=False, link=link)


def test_what_cannot_be_imported_is_said_with_the_remedy(link, tmp_path, monkeypatch):
    elsewhere = types.ModuleType("elsewhere")
    exec("def build(num_envs, seed):\n    return make('', num_envs, seed)", elsewhere.__dict__)
    elsewhere.make = misbehaving
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    use(monkeypatch, elsewhere.build)
    with pytest.raises(RunError, match=r"No module named 'elsewhere'; .* or use --simulators 0"):
        run(tiny(), tmp_path / "run", progress=False, link=link)


class Particular(Exception):
    """Cannot be loaded: its message is not what it was made from."""

    def __init__(self, number: int, unit: str) -> None:
        super().__init__(f"{number} {unit}")


def test_an_error_that_cannot_be_sent_is_told_by_its_name():
    class Raises:
        def collect(self):
            raise Particular(3, "newton")

    request = pickle.dumps(("collect", (), cpu_random_state()))
    *_, error, where = pickle.loads(serving.answer(Raises(), request))
    assert isinstance(error, RunError)
    assert str(error) == "Particular: 3 newton"
    assert "in collect" in where


def test_what_is_answered_and_cannot_be_sent_is_an_error():
    class Local(UserWarning):
        """Of a function: no other process can import it."""

    class Answers:
        def state_dict(self):
            warnings.warn("shaky", Local, stacklevel=1)
            return {"position": lambda: 0}

        def collect(self):
            warnings.warn("shaky", Local, stacklevel=1)
            raise Particular(3, "newton")

    def reply(method: str) -> tuple:
        return pickle.loads(
            serving.answer(Answers(), pickle.dumps((method, (), cpu_random_state())))
        )

    _, ((text, category, _, _),), result, error, _ = reply("state_dict")
    assert (text, category, result) == ("shaky", UserWarning, None)
    assert isinstance(error, RunError)
    assert "cannot be sent: " in str(error)
    assert "lambda" in str(error)
    assert str(reply("collect")[3]) == "Particular: 3 newton"


def test_a_run_does_not_wait_for_one_that_answers_no_more(monkeypatch):
    def fails(environments, request):
        raise ValueError("no answer")

    monkeypatch.setattr(serving, "answer", fails)
    ours, its = multiprocessing.Pipe()
    with ours:
        ours.send_bytes(b"question")
        with pytest.raises(ValueError, match="no answer"):
            serving._serve(its, threading.Lock())
        assert ours.poll(5)
        with pytest.raises(EOFError):
            ours.recv_bytes()


def test_all_ask_before_the_first_waits_for_its_answer(links):
    """Two runs that share a process, each with more to send than a pipe holds."""
    order = []

    def work(own: Link, name: str, meet) -> None:
        def wait():
            order.append(f"{name} asked")
            meet()

        own.wait = wait
        own.call("begin_evaluations", (), torch.zeros(10**6), 0, "stop")
        order.append(f"{name} answered")

    ended = in_lockstep([lambda m, n=n: work(links.pop(), n, m) for n in "ab"], None)
    assert ended == [None, None]
    assert order == ["a asked", "b asked", "a answered", "b answered"]


def test_a_process_that_is_killed_is_said_and_the_run_goes_on_from_its_checkpoint(
    undisturbed, tmp_path
):
    process = EnvironmentProcess(1)
    message = r"^the process of the environments was killed by SIGKILL; `cotasp resume` goes on fr"
    with pytest.raises(RunError, match=message):
        interrupted_by(process.process.kill, 8, process.links[0], tmp_path / "run")
    process.close()
    resume(tmp_path / "run", progress=False)
    assert contents(tmp_path / "run") == contents(undisturbed)


def test_signals_do_not_end_it(tmp_path, undisturbed):
    process = EnvironmentProcess(1)

    def then():
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(process.process.pid, number)

    interrupted_by(then, 3, process.links[0], tmp_path / "run")
    assert contents(tmp_path / "run") == contents(undisturbed)
    process.close()


@linux
def test_it_has_ended_after_the_block_also_after_an_error(tmp_path, monkeypatch):
    use(monkeypatch, "raises")
    pids = []

    def begin() -> None:
        with environment_links(2, 3) as links:
            pids.extend({link._process.pid for link in links})
            assert len(pids) == 2
            assert not any(map(has_ended, pids))
            run(tiny(), tmp_path / "run", progress=False, link=links[1])

    with pytest.raises(RunError, match="unstable"):
        begin()
    assert all(map(has_ended, pids))


@linux
def test_it_ends_when_its_run_is_killed_also_in_the_middle_of_a_step(tmp_path):
    code = f"""
import pytest, threading, time
from tests.continual.environments import use
from tests.continual.runs import tiny
from cotasp.continual.loop import run
from cotasp.continual.remote import environment_links
use(pytest.MonkeyPatch(), "hangs")
with environment_links(1, 1) as (link,):
    print(link._process.pid, flush=True)
    link.wait = lambda: print("asked", flush=True)
    run(tiny(), {str(tmp_path / "run")!r}, progress=False, link=link)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    pid = int(parent.stdout.readline())
    for _ in range(4):  # the two beginnings, and batches of 10 steps: the second one hangs
        assert parent.stdout.readline() == b"asked\n"
    assert not has_ended(pid)
    parent.kill()
    parent.communicate()
    assert ends_soon(pid)


def test_runs_share_as_few_processes_as_are_asked_for():
    with environment_links(5, 2) as links:
        pids = [link._process.pid for link in links]
        assert [pids.index(pid) for pid in pids] == [0, 1, 0, 1, 0]
    with environment_links(2, 0) as links:
        assert links == [None, None]
