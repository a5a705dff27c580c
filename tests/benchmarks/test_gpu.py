"""The GPU's benchmark runs anywhere: without CUDA on the CPU, with tiny sizes, and says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gpu
import pytest

SCRIPT = Path(gpu.__file__)


def script(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), "--device", "cpu", *words]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_updates_and_the_loop_run_on_the_cpu(tmp_path):
    file = tmp_path / "gpu.json"
    limits = "updates=300,loop=600"  # it is the machine's business how fast they are
    ended = script("--parts", "updates,loop", "--limits", limits, "--json", str(file))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "no CUDA here" in ended.stdout
    facts = json.loads(file.read_text())
    assert facts["ended"] == {"updates": "done", "loop": "done"}
    assert facts["device"] == "cpu"
    rates = {(f["way"], f["seeds"]): f for f in facts["figures"] if f["part"] == "updates"}
    assert {("graph", 1), ("graph", 2), ("eager", 1), ("TorchRL eager", 1)} <= rates.keys()
    assert all(figure["updates_per_s"] > 0 for figure in rates.values())
    few, many = (figure for figure in facts["figures"] if figure["part"] == "loop")
    assert (few["frames_per_batch"], few["steps"]) == (200, 2 * gpu.TINY.steps)
    assert (many["frames_per_batch"], many["steps"]) == (40, 2 * gpu.TINY.steps)
    for loop in (few, many):
        assert (loop["seeds"], loop["simulators"]) == (2, 2)
        assert loop["steps_per_s"] > 0
        assert loop["steps_per_s_in_training"] > 0


def test_a_part_that_takes_too_long_is_stopped_and_what_it_told_stays(tmp_path, monkeypatch):
    monkeypatch.setitem(gpu.LIMITS, "updates", 1)
    ended = gpu.run_parts(["updates"], "cpu", tmp_path / "lines.jsonl")
    assert ended == {"updates": "stopped after its 1 s"}


def test_one_way_that_fails_leaves_the_others_alone(monkeypatch):
    def refuse():
        raise RuntimeError("no such kernel\nmore")

    told = []
    ways = [("broken", 1, refuse), ("fine", 2, lambda: lambda updates: None)]
    monkeypatch.setattr(gpu, "ways_of", lambda *_: ways)
    gpu.updates_part(gpu.TINY, "cpu", lambda **facts: told.append(facts))
    broken, fine = told
    assert broken["failed"] == "RuntimeError: no such kernel"
    assert fine["updates_per_s"] > 0


@pytest.mark.parametrize("words", [("--parts", "updates,loops"), ("--limits", "loop=fast")])
def test_what_is_not_there_is_refused(words):
    ended = script(*words)
    assert ended.returncode == 2
    assert "expected" in ended.stderr
    assert words[1].split(",")[-1] in ended.stderr
