"""Runs that several modules compare with, or spoil copies of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cotasp.continual.loop import run
from tests.continual.runs import stopped, tiny


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run(tiny(), out, progress=False)
    return out


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory) -> Path:
    return stopped(tmp_path_factory.mktemp("interrupted") / "run", 155)


@pytest.fixture
def out(interrupted, tmp_path) -> Path:
    """A run directory stopped after 60 steps of task 2, to be spoilt."""
    return Path(shutil.copytree(interrupted, tmp_path / "run"))
