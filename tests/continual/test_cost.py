"""Processor seconds of a run, which leave its evaluations out and outlive a stop."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest

from cotasp.continual.cost import ProcessorTime
from cotasp.continual.evaluation import Evaluator
from cotasp.continual.loop import resume, run
from cotasp.storage.checkpoints import Checkpoints
from tests.continual.runs import stopped, tiny

NOW, AT_EVALUATIONS = "cpu_seconds", "cpu_seconds_at_evaluations"


def timing(path: Path) -> dict:
    return json.loads((path / "timing.json").read_text())


def spend(seconds: float) -> None:
    """Keeps the processor busy."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_what_an_evaluation_takes_is_left_out():
    processor = ProcessorTime()
    for _ in range(2):
        spend(0.1)
        with processor.evaluation():
            spend(0.5)
    found = processor.to_json()
    assert found[AT_EVALUATIONS] == pytest.approx([0.1, 0.2], abs=0.05)
    assert found[NOW] == pytest.approx(0.2, abs=0.05)


def check(found: dict, path: Path) -> None:
    """Seconds at each evaluation, ascending, to those at the end."""
    rows = json.loads((path / "evaluations.json").read_text())["success"]
    assert len(found[AT_EVALUATIONS]) == len(rows)
    seconds = [0.0, *found[AT_EVALUATIONS]]
    assert all(a < b for a, b in pairwise(seconds))
    assert found[NOW] >= seconds[-1]


def test_a_run_tells_the_seconds_at_each_row_of_its_evaluations(tmp_path, monkeypatch):
    score = Evaluator.__call__

    def slow(self, task, policy):
        spend(0.2)
        return score(self, task, policy)

    monkeypatch.setattr(Evaluator, "__call__", slow)
    began = time.process_time()
    run(tiny(), tmp_path / "run", progress=False)
    spent, found = time.process_time() - began, timing(tmp_path / "run")
    check(found, tmp_path / "run")
    assert found[NOW] < spent - 6 * 0.2


def test_a_resumed_run_goes_on_counting(tmp_path, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProcessorTime, "seconds", property(lambda self: 5000.0))
        out = stopped(tmp_path / "run", 155)
    manifest = Checkpoints(out).newest().manifest
    assert manifest[AT_EVALUATIONS] == [5000.0] * 5
    resume(out, progress=False)
    found = timing(out)
    assert found[AT_EVALUATIONS][:5] == manifest[AT_EVALUATIONS]
    assert 5000 < found[AT_EVALUATIONS][5] <= found[NOW] < 5060


def test_a_run_that_was_stopped_for_real(tmp_path):
    out = stopped(tmp_path / "run", 53)
    before = Checkpoints(out).newest().manifest
    assert before[NOW] >= before[AT_EVALUATIONS][-1] > 0
    resume(out, progress=False)
    check(timing(out), out)
    assert timing(out)[AT_EVALUATIONS][:2] == before[AT_EVALUATIONS]
