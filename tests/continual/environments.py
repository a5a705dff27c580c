"""Environments that misbehave, made by functions that another process can import."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from cotasp.tasks.point import PointEnv
from cotasp.tasks.point_streams import Point
from cotasp.tasks.task import Task

AT = 13  # step of training at which they do


class _Misbehaves(PointEnv):
    kind, count = "", 0

    def _step(self, tensordict: Any) -> Any:
        out = super()._step(tensordict)
        self.count += 1
        training = not self.batch_size  # evaluation runs its episodes side by side
        if self.kind == "evaluation" and not training:
            return out.set("observation", out["observation"] * math.nan)
        if not training or self.count != AT:
            return out
        if self.kind == "warns":
            warnings.warn("the table shakes", stacklevel=1)
        if self.kind == "hangs":
            time.sleep(1000)
        if self.kind == "raises":
            raise ArithmeticError("unstable")
        if self.kind == "ends":
            raise SystemExit("no licence")
        if self.kind == "draws":
            return out.set("observation", out["observation"] + 1e-3 * torch.rand(()))
        return out if self.kind != "nan" else out.set("reward", out["reward"] * math.nan)


def misbehaving(kind: str, num_envs: int | None, seed: int) -> PointEnv:
    """`kind` names what it does."""
    if kind == "cannot be made":
        raise ValueError("no scene")
    env = _Misbehaves((0.5, 0.0), 7, num_envs, seed, 1)
    env.kind = kind
    return env


def use(monkeypatch: pytest.MonkeyPatch, build: Callable | str) -> None:
    """Has every stream of points build its environments so, or misbehave so."""
    make_tasks = Point.make_tasks

    def changed(self: Point) -> tuple[Task, ...]:
        chosen = partial(misbehaving, build) if isinstance(build, str) else build
        return tuple(replace(task, build=chosen) for task in make_tasks(self))

    monkeypatch.setattr(Point, "make_tasks", changed)
