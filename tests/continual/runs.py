"""Tiny runs, how to disturb them, and all that must be equal afterwards."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotasp.continual.loop import run
from cotasp.errors import RunStopped
from cotasp.recipe import Recipe, loads
from cotasp.storage.checkpoints import Checkpoints
from cotasp.tasks.point import PointEnv

TINY = """
stream: {name: point, goals: [right, left], horizon: 7}
steps_per_task: 100
frames_per_batch: 10
checkpoint_every: 20
encoder: {name: random, dim: 16}
dictionary: {lmbda: 0.05}
actor: {hidden: [24, 20]}
agent: {critic: {hidden: [8, 8]}, batch_size: 8, n_step: 3, warmup_steps: 20,
        distillation_updates: 3, theta_updates: 8, code_updates: 2, buffer_size: 70}
evaluation: {every: 50, episodes: 3, average: 1}
"""


def tiny(*overrides: str) -> Recipe:
    return loads(TINY, overrides)


def contents(path: Path) -> dict[str, Any]:
    """All of a finished run that must be equal for equal runs, begun wherever."""
    files = [path / "evaluations.json"]
    files += [path / "metrics.csv", path / "episodes.csv"]
    found: dict[str, Any] = {str(file.relative_to(path)): file.read_bytes() for file in files}
    summary = json.loads((path / "summary.json").read_bytes())
    summary.pop("begun_from", None)
    found["summary"] = list(summary.items())  # in their order
    saved = Checkpoints(path).newest()
    assert saved is not None
    return found | {"checkpoint": saved.content_hash()}


def training_steps(monkeypatch: pytest.MonkeyPatch, then: Callable[[int, Any], Any]) -> None:
    """Calls `then(number of the step, what it gives)` at every step of training from now on."""
    step, count = PointEnv._step, [0]

    def counted(self, tensordict):
        out = step(self, tensordict)
        if not self.batch_size:  # evaluation runs its episodes side by side
            count[0] += 1
            changed = then(count[0], out)
            return out if changed is None else changed
        return out

    monkeypatch.setattr(PointEnv, "_step", counted)


def send(monkeypatch: pytest.MonkeyPatch, number: signal.Signals, *at: int) -> None:
    """Sends this process a signal in the middle of those steps of training."""

    def then(step: int, out: Any) -> None:
        if step in at:
            os.kill(os.getpid(), number)

    training_steps(monkeypatch, then)


def stopped(out: Path, at: int, *overrides: str) -> Path:
    """A run that a signal stopped in the batch of that step of training."""
    with pytest.MonkeyPatch.context() as patch:
        send(patch, signal.SIGTERM, at)
        with pytest.raises(RunStopped, match=r"stopped by SIGTERM .*`cotasp resume "):
            run(tiny(*overrides), out, progress=False)
    return out
