"""Replay buffers that do not fit: told before training, by what a machine's files say."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from cotasp import run
from cotasp.agents.sac import SAC
from cotasp.errors import RecipeError
from cotasp.methods import capacity
from cotasp.methods.capacity import available_memory, check_memory
from cotasp.methods.problem import Problem
from cotasp.methods.replay import Replay
from tests.agents.problems import ACT, OBS, TEXTS, transitions
from tests.continual.runs import tiny

PROBLEM = Problem(TEXTS, OBS, ACT, steps_per_task=60)
MEMINFO = "MemTotal:       24683656 kB\nMemFree: 1 kB\nMemAvailable:   1000 kB\n"


@pytest.mark.parametrize("size", [40, 60, 10**9])
def test_a_buffer_takes_the_bytes_that_are_counted(size):
    replay = Replay(SAC(buffer_size=size).sampling(PROBLEM), PROBLEM, task=0)
    replay.extend(transitions(20, seed=0))
    assert replay.buffer.storage._storage.bytes() == replay.bytes


def test_room_for_more_than_a_task_has_changes_no_sample():
    """The reference is a buffer with that room."""
    settings = SAC(buffer_size=10**4, batch_size=7, n_step=1)
    bounded = Replay(settings.sampling(PROBLEM), PROBLEM, task=0)
    roomy = Replay(
        settings.sampling(PROBLEM),
        replace(PROBLEM, steps_per_task=10**4),
        task=0,
    )
    assert (bounded.capacity, roomy.capacity) == (60, 10**4)
    for seed in range(6):
        for replay in (bounded, roomy):
            replay.extend(transitions(10, seed))
        for one, other in zip(bounded.sample(), roomy.sample()):
            assert torch.equal(one, other)
    ours, theirs = (replay.state_dict()["transitions"] for replay in (bounded, roomy))
    assert ours == theirs
    for key, column in ours.read(0, 60).items():
        assert torch.equal(column, theirs.read(0, 60)[key])


def test_what_does_not_fit_is_refused_with_the_numbers(monkeypatch):
    each = 60 * 72
    monkeypatch.setattr(capacity, "available_memory", lambda device: 3 * each)
    for learners in (1, 3):
        check_memory(SAC().sampling(PROBLEM), replace(PROBLEM, learners=learners))
    with pytest.raises(RecipeError, match=r"^recipe.agent.buffer_size: .*4 learners x 0.0 MB = "):
        check_memory(SAC().sampling(PROBLEM), replace(PROBLEM, learners=4))
    check_memory(SAC(buffer_size=40).sampling(PROBLEM), replace(PROBLEM, learners=4))
    monkeypatch.setattr(capacity, "available_memory", lambda device: 17_000_000)
    message = (
        r"fits in the 17.0 MB of memory available on cpu, got 1000000: 250000 transitions kept at "
        r"a time need 18.0 MB; choose a smaller buffer_size, or a machine with more memory$"
    )
    with pytest.raises(RecipeError, match=message):
        check_memory(
            SAC().sampling(PROBLEM),
            replace(PROBLEM, steps_per_task=250_000),
        )


def test_a_run_that_does_not_fit_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(capacity, "available_memory", lambda device: 1000)
    with pytest.raises(RecipeError, match=r"^recipe.agent.buffer_size"):
        run(tiny(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_without_knowing_nothing_is_refused():
    endless = replace(PROBLEM, steps_per_task=10**9, device="mps")
    check_memory(
        SAC(buffer_size=10**9).sampling(PROBLEM),
        replace(endless, learners=10**9),
    )


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({"proc/meminfo": MEMINFO}, 1_024_000),
        ({"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/\n"}, 1_024_000),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/memory.max": "900000\n",
                "sys/fs/cgroup/job/memory.stat": "anon 200000\nfile 600000\n",
            },
            700_000,
        ),
        (  # of a container that sees its own group only
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "9:cpu,cpuacct:/pod/c\n4:memory:/pod/c\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "800000\n",
                "sys/fs/cgroup/memory/memory.stat": "rss 7\ntotal_rss 300000\n",
            },
            500_000,
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "4:memory:/\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            1_024_000,
        ),
    ],
    ids=["no groups", "no limit", "version 2", "version 1", "unlimited"],
)
def test_the_least_of_what_linux_tells_counts(files, available, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_memory("cpu", tmp_path) == available


def test_other_systems_tell_how_much_they_have(tmp_path, monkeypatch):
    known = {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(capacity.os, "sysconf", known.__getitem__)
    assert available_memory("cpu", tmp_path) == 40_960
    monkeypatch.delattr(capacity.os, "sysconf")
    assert available_memory("cpu", tmp_path) is None


def test_this_machine_tells():
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < available_memory("cpu") <= everything


def test_a_graphics_card_is_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ({"cuda:1": 5}[device], 9))
    assert available_memory("cuda:1") == 5
