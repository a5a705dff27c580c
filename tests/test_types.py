"""What type checkers and editors see of the package."""

from __future__ import annotations

import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUBS = runpy.run_path(str(ROOT / "scripts" / "write_stubs.py"))["stubs"]()
USER = """
import cotasp
from cotasp.modules import MetaPolicy

recipe = cotasp.load("smoke")
cotasp.run(recipe, 3.5, progres=False)
reveal_type(cotasp.open_run("runs/smoke").curve())
MetaPolicy(4)
cotasp.rum(recipe, "runs/smoke")
"""


@pytest.mark.parametrize("path", STUBS, ids=lambda p: p.parent.name)
def test_a_stub_says_what_the_package_exports(path):
    assert path.read_text(encoding="utf-8") == STUBS[path], "run python scripts/write_stubs.py"
    package = import_module(".".join(path.parent.relative_to(ROOT).parts))
    names = {line.split()[-1] for line in STUBS[path].splitlines()[1:]}
    assert set(package.__all__) <= names
    assert all(hasattr(package, name) for name in names)


@pytest.mark.slow
def test_mistakes_in_a_users_file_are_found(tmp_path):  # case 25
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(USER)
    command = [sys.executable, "-m", "mypy", "user.py", "--cache-dir", str(tmp_path / "cache")]
    # other packages' types are not needed, and take most of the time
    command += ["--follow-imports=silent", "--no-site-packages", "--ignore-missing-imports"]
    environment = {"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    for said in (
        'user.py:6: error: Unexpected keyword argument "progres" for "run"',
        'user.py:6: error: Argument 2 to "run" has incompatible type "float"',
        'user.py:7: note: Revealed type is "dict[str, list[tuple[int, float]]]"',
        'user.py:8: error: Missing positional argument "action_dim"',
        'user.py:9: error: Module has no attribute "rum"',
    ):
        assert said in done.stdout, done.stdout + done.stderr
