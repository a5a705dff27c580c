"""What a run directory says of itself."""

from __future__ import annotations

import re
import shlex

import pytest

from cotasp.__main__ import main
from cotasp.continual.loop import run
from tests.continual.runs import tiny


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("read me") / "a run"
    run(tiny(), out, progress=False)
    return out


def test_each_file_is_named(directory):
    text = (directory / "README.md").read_text()
    named = set(re.findall(r"^- `([^`/]+)[^`]*`", text, re.MULTILINE))
    there = {p.name for p in directory.iterdir() if not p.name.startswith(".")} - {"README.md"}
    assert there == named


def test_each_command_and_the_python_block_run(directory, capsys):
    text = (directory / "README.md").read_text()
    shell = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line for block in shell for line in block.splitlines()]
    assert [command.split()[1] for command in commands] == ["resume", "play", "evaluate", "report"]
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    assert directory.with_name("a run.gif").stat().st_size > 1000
    assert (directory / "report" / "index.html").is_file()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    capsys.readouterr()
    exec(block, {})
    assert "right" in capsys.readouterr().out
