"""Every example in a docstring of the package runs and gives what it says."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "cotasp").rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, capsys):
    failed, attempted = doctest.testmod(import_module(name))
    assert not failed, capsys.readouterr().out
    assert attempted, "the examples stand where doctest does not look"


def test_there_are_examples():
    assert {"cotasp.registry", "cotasp.schema"} <= set(MODULES)
