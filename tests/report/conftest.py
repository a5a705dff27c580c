"""Runs of three update rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.synthetic import RULES, make_runs


@pytest.fixture
def runs(tmp_path) -> Path:
    """Five seeds of each of `RULES`."""
    return make_runs(tmp_path / "runs", RULES, range(5))
